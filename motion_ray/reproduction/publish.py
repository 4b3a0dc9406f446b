"""A small form of a reproduction's report that can be committed: Markdown, curves, one animation.

Shapes: f frames, h/w pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from motion_ray.data.puppets.folders import slug
from motion_ray.errors import MotionRayError
from motion_ray.files import write_text_atomic
from motion_ray.reproduction.animation import write_animation
from motion_ray.reproduction.calls import without_places
from motion_ray.reproduction.page import title_of
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.section import Chart, Section, TableRow
from motion_ray.reproduction.sections import JUDGED, counted, provisional

README, ANIMATION = "README.md", "videos.gif"
TAUGHT = "clips that teach it"
LARGEST = 3_000_000  # bytes of the whole folder
#: The page's colours, for drawings that stand alone on a page of any brightness.
SERIES = {
    "series-a": "#d9480f",
    "series-b": "#1971a8",
    "series-c": "#6b4fa0",
    "series-d": "#2b7a3d",
    "series-e": "#8a6d1b",
}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#555}polyline{fill:none;stroke:currentColor;"
    "stroke-width:2.2;stroke-linejoin:round}circle{fill:currentColor;stroke:#fff;stroke-width:1.5}"
    ".span{stroke:currentColor;stroke-width:1.5;opacity:.4}.grid{stroke:#ddd}.axis{stroke:#777}"
    + "".join(f".{name}{{color:{colour}}}" for name, colour in SERIES.items())
)
LEGEND_LINE = 18  # pixels


def publish(
    folder: Path, found: Reproduction, sections: Sequence[Section], facts: Mapping[str, str]
) -> Path:
    """Write ``README.md`` and its pictures; returns its path.

    Args:
        folder: made if need be; files of the same names are replaced, others stay.
        found: what was found.
        sections: of it.
        facts: name to value: command, commit, device, date.

    Raises:
        MotionRayError: a file cannot be written, or all together are too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        _file(section, chart): _alone(chart.svg, section.legend)
        for section in sections
        for chart in section.charts
    }
    for name, svg in drawings.items():
        write_text_atomic(folder / name, svg)
    methods = _animated(found)
    animated = write_animation(folder / ANIMATION, methods)
    parts = [
        *_head(found, folder),
        *_verdicts(sections),
        *(line for section in sections for line in _section(section)),
        *_videos(found, methods if animated else {}),
        *_failed(found),
        *_making(found, facts),
    ]
    write_text_atomic(folder / README, "\n".join(parts) + "\n")
    names = (README, *drawings, *([ANIMATION] if animated else ()))
    size = sum((folder / name).stat().st_size for name in names)
    if size > LARGEST:
        rule = f"its files take {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}"
        raise MotionRayError(folder, rule, "publish fewer experiments at once")
    return folder / README


def _head(found: Reproduction, folder: Path) -> list[str]:
    scale, guide, left = found.scale, Path("../../reproduction.md"), found.findings.to_come
    known = (folder / guide).is_file()
    how = f" [How it is done]({guide})." if known else " docs/reproduction.md says how it is done."
    return [
        f"# The paper's tables, again: scale {scale.name}",
        "",
        f"{', '.join(scale.motions)}; {scale.prompts} prompts, training seeds "
        f"{_listed(scale.seeds)} (headline methods {_listed(scale.headline_seeds)}), noise seeds "
        f"{_listed(scale.video_seeds)}. Ours are "
        "shares or means of videos, every motion weighing the same, with 95 % intervals that "
        f"resample prompts; the paper's numbers stand below ours where it has any.{how}",
        "",
        *([provisional(len(left)), ""] if left else ()),
    ]


def _verdicts(sections: Sequence[Section]) -> list[str]:
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    if not verdicts:
        return []
    return [
        "## What holds",
        "",
        counted(sections),
        "",
        JUDGED,
        "",
        "| claim | verdict | because |",
        "|---|---|---|",
        *(f"| {_cell(v.claim.text)} | **{v.word}** | {_cell(v.because)} |" for v in verdicts),
        "",
    ]


def _file(section: Section, chart: Chart) -> str:
    """``table-1-motion-accuracy-over-the-steps-of-training.svg``."""
    return f"{slug(section.title.partition(':')[0])}-{slug(chart.title)}.svg"


def _section(section: Section) -> list[str]:
    if not section.rows:
        return []
    lines = [
        f"## {section.title}",
        "",
        f"| {section.first} | {' | '.join(map(_cell, section.columns))} |",
        "|---" * (1 + len(section.columns)) + "|",
        *(_row(row) for row in section.rows),
        "",
        *([section.note, ""] if section.note else ()),
    ]
    for chart in section.charts:
        title = chart.title[0].upper() + chart.title[1:]
        lines += [f"{title}:", "", f"![{chart.title}]({_file(section, chart)})", ""]
    return lines


def _row(row: TableRow) -> str:
    title = _cell(row.title) + (f"<br>({_cell(row.note)})" if row.note else "")
    cells = [_cell(ours) + (f"<br>{_cell(beside)}" if beside else "") for ours, beside in row.cells]
    return f"| {title} | {' | '.join(cells)} |"


def _videos(found: Reproduction, methods: Mapping[str, Sequence[Path]]) -> list[str]:
    if not methods:
        return []
    said = "the same prompts and the same noise in every row"
    if TAUGHT in methods:
        said += ", below the clips that teach it"
    return [
        "## Videos",
        "",
        f"The first motion, {found.scale.motions[0]}: {said}.",
        "",
        f"![{', '.join(methods)}]({ANIMATION})",
        "",
    ]


def _failed(found: Reproduction) -> list[str]:
    if not found.findings.failed:
        return []
    lines = [f"- {each.cell.name}: {_cell(each.reason)}" for each in found.findings.failed]
    return ["## Trainings that failed", "", *lines, ""]


def _making(found: Reproduction, facts: Mapping[str, str]) -> list[str]:
    # The classes are in the models' cards; what else there is decides the numbers.
    measured = {n: str(value) for n, value in found.measured_with.items() if n != "classes"}
    known = {**facts, **measured}
    if "command" in known:
        known["command"] = without_places(known["command"])
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in known.items()]
    return ["## How it was made", "", "| | |", "|---|---|", *lines]


def _animated(found: Reproduction) -> dict[str, list[Path]]:
    """Title to files of the methods that the first tables compare, or of all if there are none,
    below the clips that they learned from.
    """
    first = dict.fromkeys(row.method for e in found.experiments if e.curves for row in e.rows)
    wanted = [method for method in first if method in found.videos] or list(found.videos)
    videos = {title_of(found, m): [file for _, file in found.videos[m]] for m in wanted}
    return {TAUGHT: list(found.taught), **videos} if videos and found.taught else videos


def _alone(svg: str, legend: Sequence[tuple[str, str]]) -> str:
    """An inline drawing as a file of its own, with its colours and a legend above."""
    match = re.match(r'<svg class="chart" viewBox="0 0 (\d+) (\d+)"', svg)
    assert match is not None  # evaluation.charts draws it
    width, height = int(match[1]), int(match[2])
    top = LEGEND_LINE * len(legend) + 8
    lines = [
        f'<text x="52" y="{LEGEND_LINE * (n + 1)}" class="{style}" style="fill:currentColor">'
        f"{title}</text>"
        for n, (title, style) in enumerate(legend)
    ]
    inner = svg[svg.index(">") + 1 : -len("</svg>")]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + top}" '
        f'width="{width}" height="{height + top}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(lines)}'
        f'<g transform="translate(0 {top})">{inner}</g></svg>\n'
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _cell(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
