"""The page that shows a customization: one HTML file with its videos, curves and numbers inside.

It has no outside parts, so it can be mailed, archived or opened years later.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from motion_ray.data.video import probe
from motion_ray.evaluation.charts import Line, Mark, line_chart, smoothed
from motion_ray.files import write_text_atomic

FILE_NAME = "report.html"
SMALL = 200  # pixels; below, enlarged without blurring
SET_STYLES = {"motion": "series-a", "regularization": "series-b"}


@dataclass(frozen=True)
class ReportContext:
    """What the page tells.

    Attributes:
        title: name of the motion.
        token: V*.
        prompt_pairs: (prompt, video without the delta or null, video with it), same seed.
        training: (caption, video) of training clips.
        metrics: lines of ``metrics.jsonl``.
        config: of the run.
        facts: short name to value, in the order to be shown.
        delta: ``name@version``.
        store: path or URI.
    """

    title: str
    token: str
    prompt_pairs: Sequence[tuple[str, Path | None, Path]]
    training: Sequence[tuple[str, Path]]
    metrics: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    facts: Mapping[str, str]
    delta: str
    store: str


@dataclass(frozen=True)
class EmbeddedVideo:
    """A video inside a page.

    Attributes:
        source: its whole content, for the ``src`` of an element.
        width: pixels.
        height: pixels.
    """

    source: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether it is to be enlarged without blurring."""
        return self.width < SMALL


def write_report(out: Path, context: ReportContext) -> Path:
    """Write ``report.html`` into ``out``, whole or not at all; returns its path.

    Raises:
        DataError: a video of the context cannot be read.
    """
    environment = Environment(
        loader=PackageLoader("motion_ray.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        context=context,
        pairs=[
            (
                _highlighted(prompt, context.token),
                before and embed_video(before),
                embed_video(after),
            )
            for prompt, before, after in context.prompt_pairs
        ],
        training=[
            (_highlighted(caption, context.token), embed_video(path))
            for caption, path in context.training
        ],
        loss=Markup(loss_chart(context.metrics)),
        appearance=Markup(appearance_chart(context.metrics)),
        validations=validations(context.metrics),
        chosen=chosen_step(context.metrics),
        seconds=training_seconds(context.metrics),
        snippet=usage(context),
        config=yaml.safe_dump(dict(context.config), sort_keys=False, allow_unicode=True),
    )
    path = out / FILE_NAME
    write_text_atomic(path, page)
    return path


# --- what the metrics say -------------------------------------------------------------------------


def validations(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines that hold a validation, in order."""
    return [line for line in metrics if line["event"] == "validation"]


def chosen_step(metrics: Sequence[Mapping[str, Any]]) -> int | None:
    """The step whose weights became the delta.

    The last one validated above the floor if training broke through it, else the last one.
    """
    scored = validations(metrics)
    if scored and not scored[-1]["passed"]:
        good = [line["step"] for line in scored if line["passed"]]
        return good[-1] if good else None
    steps = [line["step"] for line in metrics if line["event"] == "step"]
    return steps[-1] if steps else None


def training_seconds(metrics: Sequence[Mapping[str, Any]]) -> float:
    """Time spent in steps and validations, over all attempts of the run."""
    return sum(line["seconds"] for line in metrics)


def loss_chart(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The smoothed loss of each set over the steps, with the unsmoothed one behind it, as SVG."""
    by_set: dict[str, list[tuple[float, float]]] = {}
    for line in metrics:
        if line["event"] == "step":
            for name, loss in line["losses"].items():
                if math.isfinite(loss):
                    by_set.setdefault(name, []).append((line["step"], loss))
    lines = []
    for name, points in sorted(by_set.items()):
        style = SET_STYLES.get(name, "series-a")
        lines.append(Line(f"{name}, every step", f"{style} raw", points))
        lines.append(Line(name, style, smoothed(points)))
    return line_chart(lines, x_label="step", description="Training loss of each set over the steps")


def appearance_chart(metrics: Sequence[Mapping[str, Any]]) -> str:
    """CLIP appearance at each validation, its floor and the chosen step, as SVG."""
    scored = validations(metrics)
    points = [(line["step"], line["appearance"]) for line in scored]
    floor = [(line["step"], line["floor"]) for line in scored]
    chosen = chosen_step(metrics)
    return line_chart(
        [Line("floor", "floor", floor), Line("appearance", "series-a", points, dots=True)],
        x_label="step",
        description="CLIP appearance over the steps, with the floor at which training stops",
        marks=[] if chosen is None else [Mark(f"delta: step {chosen}", chosen)],
    )


# --- pieces of the page ---------------------------------------------------------------------------


def usage(context: ReportContext) -> str:
    """Python that makes a video with the delta."""
    prompt = (
        context.prompt_pairs[0][0]
        if context.prompt_pairs
        else f"a person doing the {context.token}"
    )
    base = ("inflated:" if context.config.get("inflate") else "") + str(
        context.config.get("base", "puppet")
    )
    return f"""from pathlib import Path

from motion_ray import DeltaStore, VideoGenerator, load_backbone, write_video
from motion_ray.config import parse_config

delta = DeltaStore({context.store!r}).load({context.delta!r})
config = parse_config(delta.header.config)
backbone = load_backbone({base!r})
generator = VideoGenerator(backbone, config.sampling, config.clips)

with delta.applied(backbone):
    [video] = generator.generate([{prompt!r}], seeds=[7])
write_video(Path("video.mp4"), video.frames, video.fps)
"""


def embed_video(path: Path) -> EmbeddedVideo:
    """A video file for a page that has no outside parts.

    Raises:
        DataError: it cannot be read.
    """
    info = probe(path)
    data = base64.b64encode(path.read_bytes()).decode()
    return EmbeddedVideo(f"data:video/mp4;base64,{data}", info.width, info.height)


def _highlighted(text: str, token: str) -> Markup:
    """The text, escaped, with the token marked where it stands as a word."""
    word = re.compile(rf"(?<!\w){re.escape(token)}(?!\w)")
    pieces = word.split(text)
    marked = Markup("<mark>{}</mark>").format(token)
    return marked.join(escape(piece) for piece in pieces)
