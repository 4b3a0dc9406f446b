"""A report's content, section by section, whatever it is shown in: page, terminal or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.evaluation.charts import Line, line_chart
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.scoreboard import COPYING_FIRST, NO_REAL_CLIPS, RATES, Group
from motion_ray.reproduction.claims import Verdict, Word
from motion_ray.reproduction.experiment import (
    ACCURACY,
    ALIGNMENT,
    APPEARANCE,
    BASE,
    CONSISTENCY,
    COPYING,
    COUNT,
    JUMPING,
    KICKING,
    TEMPO,
    Experiment,
    Row,
)
from motion_ray.reproduction.experiments import PAPERS_OWN
from motion_ray.reproduction.findings import CurvePoint, Findings
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.section import Chart, Section, TableRow
from motion_ray.reproduction.training_sections import of_retraining, one_by_one

SCORES = (ACCURACY, APPEARANCE, ALIGNMENT, COPYING)
SCENE_SCORES = (ACCURACY, COUNT, JUMPING, KICKING, TEMPO)
STYLES = ("series-a", "series-b", "series-c", "series-d", "series-e")
SHUFFLED = "accuracy shuffled"
HARDLY = 0.9  # so much of the accuracy is left where the order of frames hardly matters
CONTROLS = (
    *(ACCURACY, "accuracy reversed", SHUFFLED, COPYING, COPYING_FIRST),
    *(CONSISTENCY, "motion fidelity"),
)
JUDGED = (
    "Differences are of the same prompts and seeds, and their p values, which do not know how much "
    "another training would differ, are corrected together (Holm), over all differences that are "
    "tested here; each interval is 95 % by itself. Limits are judged one by one, by exact "
    "intervals, and of six prompts at least. What may be chance is called inconclusive. All videos "
    "of a noise seed start from the same noise: what other noise would give, intervals do not say. "
    "A training that failed is in no mean: "
    "that favours its method, and its row may have fewer motions than its neighbours."
)
Dot = tuple[float, float, tuple[float, float]]
"""x, y and the interval of y."""
VIDEOS, STEPS = "videos", "steps"
FLOOR = "appearance_floor"  # the reason of a training that its floor stopped


def sections_of(found: Reproduction) -> list[Section]:
    """Every experiment, what of it survives other trainings, its controls, and trainings one by
    one.
    """
    verdicts = found.verdicts
    sections = [_section(each, found, verdicts[each.name]) for each in found.experiments]
    return [*sections, *of_retraining(found), *_controls(found), *one_by_one(found)]


def counted(sections: Sequence[Section]) -> str:
    """How many claims of the paper, and of ours beyond it, came out how."""
    said = []
    for papers, whose in ((True, "Of the paper's claims"), (False, "Of those beyond the paper")):
        words = [str(v.word) for each in sections if each.papers is papers for v in each.verdicts]
        if words:
            each = (f"{words.count(word)} {word}" for word in map(str, Word) if word in words)
            said.append(f"{whose}: {', '.join(each)}.")
    return " ".join(said)


def provisional(to_come: int) -> str:
    """How many trainings are not done yet, and what that means; empty if there are none."""
    return f"Trainings that are to come: {to_come}; verdicts are provisional." if to_come else ""


def shown(metric: str, estimate: Estimate) -> str:
    """An estimate for people: shares in percent, the others with three digits."""
    if metric in (*RATES, COPYING, COPYING_FIRST, COUNT):
        value, low, high = (100 * each for each in (estimate.value, estimate.low, estimate.high))
        if math.isinf(low):
            return f"{value:.1f} % (no interval: too few prompts)"
        return f"{value:.1f} % ({low:.1f} to {high:.1f})"
    return str(estimate)


def _section(experiment: Experiment, found: Reproduction, verdicts: list[Verdict]) -> Section:
    findings, papers = found.findings, experiment.name in PAPERS_OWN
    if experiment.scenes:
        return Section(
            experiment.title,
            *("scene", (*SCENE_SCORES, VIDEOS)),
            tuple(_scene_rows(experiment, findings)),
            tuple(verdicts),
            papers=papers,
        )
    rows = experiment.rows
    if experiment.control:
        rows = (*rows, Row(BASE, "base model, asked in words", {ACCURACY: 0.0}))
    charts, legend = _charts(experiment, findings) if experiment.curves else ((), ())
    return Section(
        experiment.title,
        *("method", (*SCORES, STEPS, VIDEOS)),
        tuple(_table_row(row, found) for row in rows),
        tuple(verdicts),
        *(charts, legend, papers),
    )


def _table_row(row: Row, found: Reproduction) -> TableRow:
    findings = found.findings
    group = findings.group(row.method)
    cells = [(_ours(group, metric), _papers(row, metric)) for metric in SCORES]
    notes = _untrained(findings, row.method)
    if group is not None:
        notes += [f"{metric}: {reason}" for metric, reason in group.refused.items()]
    videos = _videos(findings.rows(row.method))
    return TableRow(row.title, (*cells, _steps(row, found), (videos, "")), "; ".join(notes))


def _untrained(findings: Findings, method: str) -> list[str]:
    """Which trainings of a method are not behind its numbers, and why."""
    failed = [each.cell for each in findings.failed]
    notes = []
    for cells, what in ((failed, "failed"), (findings.to_come, "to come")):
        mine = [cell for cell in cells if cell.method == method]
        motions = ", ".join(dict.fromkeys(cell.motion for cell in mine))
        notes += [f"{len(mine)} of its trainings {what}: {motions}"] if mine else []
    return notes


def _videos(rows: Sequence[Measurement]) -> str:
    """How many there are, those that could not be made told apart."""
    failed = sum(row.scores is None for row in rows)
    said = str(len(rows)) if rows else "none"
    return f"{said}, {failed} could not be made" if failed else said


def _steps(row: Row, found: Reproduction) -> tuple[str, str]:
    """At which steps the results are, and how many trainings their floor stopped there."""
    cells = [each for each in found.trained if each.cell.method == row.method]
    if not cells:
        return "", ""
    steps = sorted({each.result.step for each in cells})
    text = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    stopped = sum(each.stopped == FLOOR for each in cells)
    return text, f"floor: {stopped} of {len(cells)}" if stopped else ""


def _papers(row: Row, metric: str) -> str:
    if metric not in row.paper:
        return ""
    value = row.paper[metric]
    return f"paper: {100 * value:.1f} %" if metric in RATES else f"paper: {value:.4f}"


def _ours(group: Group | None, metric: str) -> str:
    if group is None or metric not in group.scores:
        return "refused" if group is not None and metric in group.refused else "not run"
    return shown(metric, group.scores[metric])


# --- controls -------------------------------------------------------------------------------------


def _controls(found: Reproduction) -> list[Section]:
    """What the numbers of the tables are to be held against, and what they do not show."""
    findings = found.findings
    if not findings.controls and not findings.looks:
        return []
    ceiling = findings.ceiling
    groups: list[tuple[str, Group | None]] = [
        ("real clips that were not trained on", ceiling),
        ("base model, asked in words", findings.group(BASE)),
    ]
    rows = {row.method: row.title for each in found.experiments for row in each.rows}
    groups += [(title, findings.group(method)) for method, title in rows.items()]
    return [
        Section(
            "Controls: real clips, frames in another order, and other scores",
            *("videos of", CONTROLS),
            tuple(
                TableRow(title, tuple((_ours(group, metric), "") for metric in CONTROLS))
                for title, group in groups
                if group is not None
            ),
            note=NO_REAL_CLIPS if ceiling is None else _order(ceiling),
        )
    ]


def _order(real: Group) -> str:
    """What the classifier hardly looks at, if so; real clips tell."""
    right, shuffled = (real.scores[name].value for name in (ACCURACY, SHUFFLED))
    if shuffled < HARDLY * right:
        return ""
    return (
        f"The classifier recognises {shuffled:.0%} of real clips with their frames in one "
        f"random order, and {right:.0%} in order: accuracy says that the poses of a motion appear, "
        "and hardly in which order."
    )


# --- scenes ---------------------------------------------------------------------------------------


def scene_titles(experiment: Experiment) -> dict[str, str]:
    """What is told apart, by name: the usual prompts (an empty one), their kinds, and scenes."""
    names = {"": "as in the tables above"}
    if experiment.kinds:
        names |= {kind: f"of these, {kind}s" for kind in KINDS if kind != "person"}
        names["person"] = "of these, persons (as in the clips)"
    return names | {scene.name: scene.name for scene in experiment.scenes}


def _scene_rows(experiment: Experiment, findings: Findings) -> list[TableRow]:
    """One after the other of each scene, if several methods were asked for it."""
    several = len(experiment.rows) > 1
    return [
        _scene_row(f"{title}: {row.title}" if several else title, row.method, scene, findings)
        for scene, title in scene_titles(experiment).items()
        for row in experiment.rows
    ]


def _scene_row(title: str, method: str, scene: str, findings: Findings) -> TableRow:
    made, drawn = findings.in_scene(method, scene), findings.drawn_of(scene)
    cells = [_scene_cell(findings, made, drawn, metric) for metric in SCENE_SCORES]
    notes = () if scene else _untrained(findings, method)
    return TableRow(title, (*cells, (_videos(made), "")), "; ".join(notes))


def _scene_cell(
    findings: Findings, made: list[Measurement], drawn: list[Measurement], metric: str
) -> tuple[str, str]:
    mine, ceiling = findings.estimate(made, metric), findings.estimate(drawn, metric)
    beside = "" if ceiling is None else f"drawn clips: {shown(metric, ceiling)}"
    if mine is None:
        return "not run", beside
    # Where the motion is not recognised there is no tempo: fewer videos than in the last column.
    of = f", of {mine.videos}" if metric == TEMPO else ""
    return shown(metric, mine) + of, beside


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
            _line(title, style, _against_steps(points, metric)) for title, style, points in curves
        ]
        text = f"{metric} over the steps of training"
        charts.append(Chart(text, line_chart(lines, x_label="step", description=text)))
    lines = [_line(title, style, _against_appearance(points)) for title, style, points in curves]
    text = f"{ACCURACY} against {APPEARANCE}"
    charts.append(Chart(text, line_chart(lines, x_label=APPEARANCE, description=text)))
    legend = tuple((title, style) for title, style, _ in curves)
    return tuple(chart for chart in charts if chart.svg), legend


def _line(title: str, style: str, dots: Sequence[Dot]) -> Line:
    return Line(
        *(title, style, [(x, y) for x, y, _ in dots]),
        dots=True,
        spans=[(x, *span) for x, _, span in dots],
    )


def _against_steps(points: Sequence[CurvePoint], metric: str) -> list[Dot]:
    return [_dot(p.step, p.scores[metric]) for p in points if metric in p.scores]


def _against_appearance(points: Sequence[CurvePoint]) -> list[Dot]:
    return sorted(
        _dot(p.scores[APPEARANCE].value, p.scores[ACCURACY])
        for p in points
        if APPEARANCE in p.scores
    )


def _dot(x: float, estimate: Estimate) -> Dot:
    return x, estimate.value, (estimate.low, estimate.high)
