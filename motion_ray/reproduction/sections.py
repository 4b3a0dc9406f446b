"""A report's content, section by section, whatever it is shown in: page, terminal or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.evaluation.charts import Line, line_chart
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.scoreboard import RATES, Group
from motion_ray.reproduction.claims import Verdict
from motion_ray.reproduction.experiments import (
    ACCURACY,
    ALIGNMENT,
    APPEARANCE,
    BASE,
    CONSISTENCY,
    COPYING,
    COUNT,
    JUMPING,
    KICKING,
    Experiment,
    Row,
)
from motion_ray.reproduction.findings import CurvePoint, Findings
from motion_ray.reproduction.reproduce import Reproduction

SCORES = (ACCURACY, APPEARANCE, ALIGNMENT, COPYING)
SCENE_SCORES = (ACCURACY, COUNT, JUMPING, KICKING, CONSISTENCY)
STYLES = ("series-a", "series-b", "series-c", "series-d", "series-e")
VIDEOS = "videos"


@dataclass(frozen=True)
class TableRow:
    """A row as it is shown.

    Attributes:
        title: of what it is about.
        cells: (ours, what stands beside it or an empty text) for each column.
        note: what else is to be known.
    """

    title: str
    cells: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        title: what it shows.
        svg: inline; its colours are classes.
    """

    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """One experiment as it is shown.

    Attributes:
        title: of the table or figure.
        first: head of the first column.
        columns: heads of the others.
        rows: of the table.
        verdicts: about its claims.
        charts: drawings.
        legend: (title, style) of the lines in them.
    """

    title: str
    first: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    verdicts: tuple[Verdict, ...] = ()
    charts: tuple[Chart, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()


def sections_of(found: Reproduction) -> list[Section]:
    """Every experiment, and the trainings of headline methods one by one."""
    findings = found.findings
    verdicts = findings.verdicts(found.experiments)
    sections = [_section(each, findings, verdicts[each.name]) for each in found.experiments]
    return [*sections, *_trainings(found)]


def shown(metric: str, estimate: Estimate) -> str:
    """An estimate for people: shares in percent, the others with three digits."""
    if metric in (*RATES, COPYING, COUNT):
        value, low, high = (100 * each for each in (estimate.value, estimate.low, estimate.high))
        return f"{value:.1f} % ({low:.1f} to {high:.1f})"
    return str(estimate)


def _section(experiment: Experiment, findings: Findings, verdicts: list[Verdict]) -> Section:
    if experiment.scenes:
        return Section(
            experiment.title,
            *("scene", (*SCENE_SCORES, VIDEOS)),
            tuple(_scene_rows(experiment, findings)),
            tuple(verdicts),
        )
    rows = experiment.rows
    if experiment.control:
        rows = (*rows, Row(BASE, "base model, asked in words", {ACCURACY: 0.0}))
    charts, legend = _charts(experiment, findings) if experiment.curves else ((), ())
    return Section(
        experiment.title,
        *("method", (*SCORES, VIDEOS)),
        tuple(_table_row(row, findings) for row in rows),
        tuple(verdicts),
        *(charts, legend),
    )


def _table_row(row: Row, findings: Findings) -> TableRow:
    group = findings.group(row.method)
    cells = [(_ours(group, metric), _papers(row, metric)) for metric in SCORES]
    failed = [each for each in findings.failed if each.cell.method == row.method]
    notes = [f"{len(failed)} of its trainings failed"] if failed else []
    if group is not None:
        notes += [f"{metric}: {reason}" for metric, reason in group.refused.items()]
    videos = "none" if group is None else str(group.videos)
    if group is not None and group.failed:
        videos += f", {group.failed} could not be made"
    return TableRow(row.title, (*cells, (videos, "")), "; ".join(notes))


def _papers(row: Row, metric: str) -> str:
    if metric not in row.paper:
        return ""
    value = row.paper[metric]
    return f"paper: {100 * value:.1f} %" if metric in RATES else f"paper: {value:.4f}"


def _ours(group: Group | None, metric: str) -> str:
    if group is None or metric not in group.scores:
        return "refused" if group is not None and metric in group.refused else "not run"
    return shown(metric, group.scores[metric])


# --- scenes ---------------------------------------------------------------------------------------


def _scene_rows(experiment: Experiment, findings: Findings) -> list[TableRow]:
    names = {"": "as in the tables above"}
    names |= {kind: f"of these, {kind}s" for kind in KINDS if kind != "person"}
    names["person"] = "of these, persons (as in the clips)"
    names |= {scene.name: scene.name for scene in experiment.scenes}
    return [_scene_row(title, name, findings) for name, title in names.items()]


def _scene_row(title: str, name: str, findings: Findings) -> TableRow:
    ours, drawn = findings.in_scene(name), findings.in_scene(name, drawn=True)
    cells = [_scene_cell(findings, ours, drawn, metric) for metric in SCENE_SCORES]
    return TableRow(title, (*cells, (str(len(ours)), "")))


def _scene_cell(
    findings: Findings, ours: list[Measurement], drawn: list[Measurement], metric: str
) -> tuple[str, str]:
    mine, ceiling = findings.estimate(ours, metric), findings.estimate(drawn, metric)
    beside = "" if ceiling is None else f"drawn clips: {shown(metric, ceiling)}"
    return ("not run" if mine is None else shown(metric, mine)), beside


# --- trainings one by one -------------------------------------------------------------------------


def _trainings(found: Reproduction) -> list[Section]:
    """Accuracy of headline methods by motion and training seed: how much trainings differ."""
    methods = dict.fromkeys(
        (row.method, row.title)
        for experiment in found.experiments
        for row in experiment.rows
        if row.headline
    )
    motions, seeds = found.scale.motions, found.scale.headline_seeds
    if len(motions) * len(seeds) < 2 or not methods:
        return []
    rows = [
        TableRow(
            f"{title}, seed {seed}",
            tuple((_rights(found.findings, method, motion, seed), "") for motion in motions),
        )
        for method, title in methods
        for seed in seeds
    ]
    return [
        Section("Each training: videos with the motion", "training", tuple(motions), tuple(rows))
    ]


def _rights(findings: Findings, method: str, motion: str, seed: int) -> str:
    for look in findings.looks:
        cell = look.cell
        if look.final and (cell.method, cell.motion, cell.seed) == (method, motion, seed):
            return f"{sum(row.right for row in look.rows)} of {len(look.rows)}"
    return "not run"


# --- curves ---------------------------------------------------------------------------------------


def _charts(
    experiment: Experiment, findings: Findings
) -> tuple[tuple[Chart, ...], tuple[tuple[str, str], ...]]:
    """Scores over the steps, and accuracy against appearance; one line for each method."""
    curves = [
        (row.title, STYLES[number % len(STYLES)], findings.curve(row.method))
        for number, row in enumerate(experiment.rows)
    ]
    charts = []
    for metric in (ACCURACY, APPEARANCE, COPYING):
        lines = [
            Line(title, style, _against_steps(points, metric), dots=True)
            for title, style, points in curves
        ]
        text = f"{metric} over the steps of training"
        charts.append(Chart(text, line_chart(lines, x_label="step", description=text)))
    lines = [
        Line(title, style, _against_appearance(points), dots=True)
        for title, style, points in curves
    ]
    text = f"{ACCURACY} against {APPEARANCE}"
    charts.append(Chart(text, line_chart(lines, x_label=APPEARANCE, description=text)))
    legend = tuple((title, style) for title, style, _ in curves)
    return tuple(chart for chart in charts if chart.svg), legend


def _against_steps(points: Sequence[CurvePoint], metric: str) -> list[tuple[float, float]]:
    return [(p.step, p.scores[metric].value) for p in points if metric in p.scores]


def _against_appearance(points: Sequence[CurvePoint]) -> list[tuple[float, float]]:
    return sorted(
        (p.scores[APPEARANCE].value, p.scores[ACCURACY].value)
        for p in points
        if APPEARANCE in p.scores
    )
