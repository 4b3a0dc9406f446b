"""The HTML page: complete in itself, escaped, and true to the metrics."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from motion_ray.data.video import write_video
from motion_ray.errors import DataError
from motion_ray.evaluation.charts import Line, Mark, line_chart, smoothed
from motion_ray.evaluation.report import (
    ReportContext,
    appearance_chart,
    chosen_step,
    loss_chart,
    usage,
    write_report,
)

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what tests look for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def step(number: int, **losses: float) -> dict[str, Any]:
    return {"event": "step", "step": number, "loss": 0.1, "losses": losses, "seconds": 30.5}


def validation(number: int, appearance: float, floor: float = 0.24) -> dict[str, Any]:
    return {
        "event": "validation",
        "step": number,
        "appearance": appearance,
        "floor": floor,
        "passed": appearance >= floor,
        "seconds": 3.0,
    }


STOPPED = [
    validation(0, 0.27),
    step(1, motion=0.3),
    step(2, regularization=0.2),
    validation(2, 0.25),
    step(3, motion=0.2),
    step(4, regularization=0.1),
    validation(4, 0.23),
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, torch.randint(0, 255, (4, 3, 32, 48), dtype=torch.uint8), 8.0)
    return path


@pytest.fixture
def context(video: Path) -> ReportContext:
    return ReportContext(
        title="<script>alert('title')</script>",
        token="pll",
        prompt_pairs=[
            ("a red robot doing the pll & more <b>", video, video),
            ("plllama doing the pll", None, video),
        ],
        training=[('a person doing the pll "quoted" \'', video)],
        metrics=STOPPED,
        config={"base": "puppet", "optimizer": {"lr": 5e-4}, "note": "</pre><script>x()</script>"},
        facts={"device": "cpu", "<img src=x>": "<img src=y onerror=z()>"},
        delta="swing@1",
        store="/data/it's/store",
    )


def test_the_page_is_whole_and_needs_nothing_else(context: ReportContext, tmp_path: Path) -> None:
    path = write_report(tmp_path / "run", context)
    assert path == tmp_path / "run" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    page = Page(path.read_text())
    assert page.open == []
    sources = [attributes["src"] or "" for attributes in page.all("video")]
    assert len(sources) == 4  # two pairs, one of them without a before, and a training clip
    video = context.training[0][1].read_bytes()
    for source in sources:
        kind, _, data = source.partition(",")
        assert kind == "data:video/mp4;base64"
        assert base64.b64decode(data) == video
    assert not page.all("link") and not page.all("script") and not page.all("img")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", path.read_text())


def test_videos_play_by_themselves_and_small_ones_stay_sharp(
    context: ReportContext, tmp_path: Path
) -> None:
    page = Page(write_report(tmp_path, context).read_text())
    for attributes in page.all("video"):
        assert {"autoplay", "loop", "muted", "playsinline"} <= attributes.keys()
        assert (attributes["width"], attributes["height"], attributes["class"]) == (
            "48",
            "32",
            "small",
        )
        assert attributes["aria-label"]


def test_what_users_wrote_is_shown_and_never_run(context: ReportContext, tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, context).read_text())
    for text in (
        "<script>alert('title')</script>",
        "a red robot doing the pll & more <b>",
        "</pre><script>x()</script>",
        "<img src=y onerror=z()>",
    ):
        assert text in page.text
    labels = [attributes["aria-label"] for attributes in page.all("video")]
    assert "with the motion: a red robot doing the pll & more <b>" in labels
    assert 'a person doing the pll "quoted" \'' in labels


def test_the_token_is_marked_as_a_word_only(context: ReportContext, tmp_path: Path) -> None:
    text = write_report(tmp_path, context).read_text()
    assert "plllama doing the <mark>pll</mark>" in text
    assert "<mark>pll</mark>lama" not in text


def test_a_second_report_replaces_the_first(context: ReportContext, tmp_path: Path) -> None:
    write_report(tmp_path, context).write_text("old")
    assert "swing@1" in write_report(tmp_path, context).read_text()


def test_a_run_without_validations_or_samples_has_a_page_as_well(tmp_path: Path) -> None:
    bare = ReportContext("m", "pll", [], [], [], {}, {}, "m@1", "s")
    page = Page(write_report(tmp_path, bare).read_text())
    assert page.open == [] and not page.all("svg") and not page.all("table")


def test_a_missing_video_is_named(context: ReportContext, tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    with pytest.raises(DataError, match=r"gone\.mp4"):
        write_report(
            tmp_path / "run",
            ReportContext("m", "pll", [("p", None, gone)], [], [], {}, {}, "m@1", "s"),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (STOPPED, 2),  # broke through the floor at 4
        (STOPPED[:4], 2),
        ([*STOPPED[:6], validation(4, 0.245)], 4),  # ended above the floor
        ([step(1, motion=0.1), step(2, motion=0.1)], 2),  # no floor at all
        ([validation(0, 0.2)], None),
        ([], None),
    ],
)
def test_the_chosen_step_is_the_one_whose_weights_are_kept(
    metrics: list[dict[str, Any]], expected: int | None
) -> None:
    assert chosen_step(metrics) == expected


def test_the_table_marks_the_chosen_validation(context: ReportContext, tmp_path: Path) -> None:
    text = write_report(tmp_path, context).read_text()
    [row] = re.findall(r'<tr class="chosen">(.*?)</tr>', text)
    assert "<b>trained</b> 2 min 11 s" in text  # four steps and three validations
    assert "2 (delta)" in row and "0.2500" in row and "above" in row


def test_curves_are_drawn_where_the_numbers_are() -> None:
    svg = line_chart(
        [Line("a", "series-a", [(0, 0.0), (5, 1.0), (10, 0.0)], dots=True)],
        x_label="step",
        description="d",
        marks=[Mark("here", 5)],
    )
    root = ElementTree.fromstring(svg)
    [curve] = root.iter("polyline")
    points = [tuple(map(float, p.split(","))) for p in curve.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y0 == y2 > y1  # up is smaller in SVG
    [mark] = [line for line in root.iter("line") if line.attrib["class"] == "mark"]
    assert float(mark.attrib["x1"]) == pytest.approx(x1, abs=0.1)
    assert len(list(root.iter("circle"))) == 3


def test_intervals_are_drawn_where_their_ends_are() -> None:
    spans = [(0.0, 0.2, 0.6), (10.0, float("-inf"), 1.0)]
    line = Line("a", "series-a", [(0, 0.4), (10, 0.4)], dots=True, spans=spans)
    root = ElementTree.fromstring(line_chart([line], x_label="step", description="d"))
    [span] = [each for each in root.iter("line") if each.attrib["class"] == "span"]
    first = next(root.iter("circle"))
    assert span.attrib["x1"] == span.attrib["x2"] == first.attrib["cx"]
    low, high, middle = (float(span.attrib["y1"]), float(span.attrib["y2"]), first.attrib["cy"])
    assert float(middle) == pytest.approx((low + high) / 2, abs=0.1) and low > high
    assert 0 < high < low < 270  # the frame has room for them


def test_charts_leave_out_what_is_not_finite_and_thin_what_is_too_dense() -> None:
    points = [(float(x), float("nan") if x % 2 else 1.0) for x in range(10_000)]
    root = ElementTree.fromstring(
        line_chart([Line("a", "s", points)], x_label="x", description="d")
    )
    [curve] = root.iter("polyline")
    drawn = curve.attrib["points"].split()
    assert 300 < len(drawn) < 500
    assert "nan" not in curve.attrib["points"]
    assert line_chart([Line("a", "s", [(0, float("inf"))])], x_label="x", description="d") == ""


def test_the_loss_chart_has_one_smooth_curve_a_set() -> None:
    root = ElementTree.fromstring(loss_chart(STOPPED))
    titles = [title.text for title in root.iter("title")]
    assert titles == [
        "motion, every step",
        "motion",
        "regularization, every step",
        "regularization",
    ]


def test_the_appearance_chart_names_the_step_of_the_delta() -> None:
    root = ElementTree.fromstring(appearance_chart(STOPPED))
    assert "delta: step 2" in [text.text for text in root.iter("text")]
    assert [title.text for title in root.iter("title")] == ["floor", "appearance"]


def test_smoothing_starts_as_a_mean_and_keeps_a_constant() -> None:
    assert smoothed([(0, 2.0), (1, 2.0), (2, 2.0)]) == [(0, 2.0), (1, 2.0), (2, 2.0)]
    assert smoothed([(0, 0.0), (1, 1.0)], weight=0.5)[1][1] == pytest.approx(1 / 1.5)


def test_the_usage_snippet_is_python_also_for_odd_names(context: ReportContext) -> None:
    source = usage(context)
    compile(source, "usage", "exec")
    assert repr("/data/it's/store") in source and "'swing@1'" in source
