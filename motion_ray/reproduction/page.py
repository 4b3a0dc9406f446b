"""The page of a reproduction: the paper's tables beside ours, verdicts, curves, videos."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.evaluation.charts import Line, line_chart
from motion_ray.evaluation.scoreboard import RATES, Group
from motion_ray.files import write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.reproduction.claims import Verdict
from motion_ray.reproduction.experiments import (
    ACCURACY,
    ALIGNMENT,
    APPEARANCE,
    BASE,
    COPYING,
    Experiment,
    Row,
)
from motion_ray.reproduction.findings import CurvePoint, Findings
from motion_ray.reproduction.reproduce import Reproduction

PAGE, RESULTS = "report.html", "results.json"
SCORES = (ACCURACY, APPEARANCE, ALIGNMENT, COPYING)
STYLES = ("series-a", "series-b", "series-c", "series-d", "series-e")


@dataclass(frozen=True)
class TableRow:
    """A row as it is shown.

    Attributes:
        title: of the method.
        cells: (the paper's number or an empty text, ours) for each of :data:`SCORES`.
        videos: how many are behind it, and how many could not be made.
        note: what else is to be known.
    """

    title: str
    cells: tuple[tuple[str, str], ...]
    videos: str
    note: str


@dataclass(frozen=True)
class Section:
    """One experiment as it is shown.

    Attributes:
        title: of the table or figure.
        rows: of the table.
        verdicts: about its claims.
        charts: (title, drawing).
        legend: (title, style) of the lines in them.
    """

    title: str
    rows: tuple[TableRow, ...]
    verdicts: tuple[Verdict, ...]
    charts: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[str, str], ...]


def write_page(out: Path, found: Reproduction, facts: Mapping[str, str]) -> Path:
    """Write ``report.html`` and ``results.json``; returns the page's path.

    Args:
        out: an existing folder.
        found: what the page tells.
        facts: name to value: command, commit, device, date.

    Raises:
        MotionRayError: a file cannot be written.
    """
    verdicts = found.findings.verdicts(found.experiments)
    sections = [
        _section(experiment, found.findings, verdicts[experiment.name])
        for experiment in found.experiments
    ]
    environment = Environment(
        loader=PackageLoader("motion_ray.reproduction", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        scale=found.scale,
        sections=sections,
        scores=SCORES,
        videos={
            _title(found, method): [(prompt, _embedded(file)) for prompt, file in made]
            for method, made in found.videos.items()
        },
        failed=[(each.cell.name, each.reason) for each in found.findings.failed],
        facts={**facts, **{k: str(v) for k, v in found.measured_with.items()}},
    )
    write_text_atomic(out / RESULTS, canonical_json(results(found, verdicts, facts)))
    write_text_atomic(out / PAGE, page)
    return out / PAGE


def results(
    found: Reproduction, verdicts: Mapping[str, list[Verdict]], facts: Mapping[str, str]
) -> dict[str, Any]:
    """The page's numbers, for machines."""
    methods = dict.fromkeys(row.method for e in found.experiments for row in e.rows)
    groups = {name: found.findings.group(name) for name in (*methods, BASE)}
    return {
        "scale": found.scale.name,
        "motions": list(found.scale.motions),
        "facts": dict(facts),
        "measured_with": found.measured_with,
        "rows": {n: None if g is None else g.to_dict() for n, g in groups.items()},
        "verdicts": {n: [v.to_dict() for v in each] for n, each in verdicts.items()},
        "failed": {each.cell.name: each.reason for each in found.findings.failed},
    }


def shown(metric: str, estimate: Estimate) -> str:
    """An estimate for people: shares in percent, cosines with three digits."""
    if metric in RATES or metric == COPYING:
        value, low, high = (100 * each for each in (estimate.value, estimate.low, estimate.high))
        return f"{value:.1f} % ({low:.1f} to {high:.1f})"
    return str(estimate)


def _section(experiment: Experiment, findings: Findings, verdicts: list[Verdict]) -> Section:
    rows = experiment.rows
    if experiment.control:
        rows = (*rows, Row(BASE, "base model, asked in words", {ACCURACY: 0.0}))
    charts, legend = _charts(experiment, findings) if experiment.curves else ((), ())
    return Section(
        experiment.title,
        tuple(_table_row(row, findings) for row in rows),
        tuple(verdicts),
        charts,
        legend,
    )


def _table_row(row: Row, findings: Findings) -> TableRow:
    group = findings.group(row.method)
    cells = tuple((_papers(row, metric), _ours(group, metric)) for metric in SCORES)
    failed = [each for each in findings.failed if each.cell.method == row.method]
    notes = [f"{len(failed)} of its trainings failed"] if failed else []
    if group is not None:
        notes += [f"{metric}: {reason}" for metric, reason in group.refused.items()]
    videos = "none" if group is None else str(group.videos)
    if group is not None and group.failed:
        videos += f", {group.failed} could not be made"
    return TableRow(row.title, cells, videos, "; ".join(notes))


def _papers(row: Row, metric: str) -> str:
    if metric not in row.paper:
        return ""
    value = row.paper[metric]
    return f"{100 * value:.1f} %" if metric in RATES else f"{value:.4f}"


def _ours(group: Group | None, metric: str) -> str:
    if group is None or metric not in group.scores:
        return "refused" if group is not None and metric in group.refused else "not run"
    return shown(metric, group.scores[metric])


def _charts(
    experiment: Experiment, findings: Findings
) -> tuple[tuple[tuple[str, Markup], ...], tuple[tuple[str, str], ...]]:
    """Scores over the steps, and accuracy against appearance; one line for each method."""
    curves = [
        (row.title, STYLES[number % len(STYLES)], findings.curve(row.method))
        for number, row in enumerate(experiment.rows)
    ]
    drawings = []
    for metric in (ACCURACY, APPEARANCE, COPYING):
        lines = [
            Line(title, style, _against_steps(points, metric), dots=True)
            for title, style, points in curves
        ]
        text = f"{metric} over the steps of training"
        drawings.append((text, Markup(line_chart(lines, x_label="step", description=text))))
    lines = [
        Line(title, style, _against_appearance(points), dots=True)
        for title, style, points in curves
    ]
    text = f"{ACCURACY} against {APPEARANCE}"
    drawings.append((text, Markup(line_chart(lines, x_label=APPEARANCE, description=text))))
    drawn = tuple((text, drawing) for text, drawing in drawings if drawing)
    return drawn, tuple((title, style) for title, style, _ in curves)


def _against_steps(points: Sequence[CurvePoint], metric: str) -> list[tuple[float, float]]:
    return [(p.step, p.scores[metric].value) for p in points if metric in p.scores]


def _against_appearance(points: Sequence[CurvePoint]) -> list[tuple[float, float]]:
    return sorted(
        (p.scores[APPEARANCE].value, p.scores[ACCURACY].value)
        for p in points
        if APPEARANCE in p.scores
    )


def _title(found: Reproduction, method: str) -> str:
    rows = [row for e in found.experiments for row in e.rows if row.method == method]
    return rows[0].title


def _embedded(file: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"
