"""The tables that ``python -m jobs.evaluate --motions ...`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.evaluation.evaluator import NOT_RUN
from motion_ray.evaluation.measurement import Part
from motion_ray.evaluation.scoreboard import (
    COPYING_ANY,
    COPYING_FIRST,
    DIVERSITY,
    NO_REAL_CLIPS,
    Comparison,
    Group,
)
from motion_ray.evaluation.summary import EvaluationSummary

SHARES = ("motion accuracy", "accuracy reversed", "accuracy shuffled", COPYING_ANY, COPYING_FIRST)
MEANS = (
    *("CLIP appearance", "text alignment", "temporal consistency", "motion fidelity"),
    DIVERSITY,
)


def show_summary(console: Console, summary: EvaluationSummary, out: Path) -> None:
    """Print all scores with their 95 % intervals, what was refused or not run, and comparisons."""
    for title, names in (("Shares of videos, %", SHARES), ("Means over videos", MEANS)):
        console.print(_scores(title, summary.groups, names, percent=names is SHARES))
    for group in summary.groups:
        for name, reason in group.refused.items():
            console.print(f"{group.name}, {name}: refused: {reason}", soft_wrap=True)
    if not any(group.part is Part.REAL for group in summary.groups):
        console.print(NO_REAL_CLIPS, soft_wrap=True)
    for part in ("copy detector", "tracker"):
        if summary.measured_with[part] == NOT_RUN:
            console.print(f"{part}: {NOT_RUN}")
    if summary.comparisons:
        console.print(_comparisons(summary.comparisons))
    prompts = summary.prompts
    console.print(
        f"{prompts['count']} prompts of the list {prompts['name']!r}, seeds "
        f"{', '.join(map(str, summary.seeds))}; {summary.videos} videos, "
        f"{summary.failed} of them could not be made",
        soft_wrap=True,
    )
    console.print(f"written to {out}: rows.parquet, scores.json", soft_wrap=True)


def _scores(title: str, groups: Sequence[Group], names: Sequence[str], *, percent: bool) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("part", overflow="fold")
    table.add_column("motion", overflow="fold")
    shown = [name for name in names if any(name in group.scores for group in groups)]
    for name in shown:
        table.add_column(name, justify="right", overflow="fold")
    for group in groups:
        cells = [_cell(group.scores.get(name), percent=percent) for name in shown]
        table.add_row(str(group.part), group.name, *cells)
    return table


def _cell(estimate: Estimate | None, *, percent: bool) -> str:
    if estimate is None or not estimate.videos:
        return "-"
    scale, digits = (100, 1) if percent else (1, 3)
    value = f"{scale * estimate.value:.{digits}f}"
    if math.isinf(estimate.low):
        return f"{value} (one prompt)"
    low, high = (f"{scale * each:.{digits}f}" for each in (estimate.low, estimate.high))
    return f"{value}\n{low} to {high}"


def _comparisons(comparisons: Sequence[Comparison]) -> Table:
    table = Table(
        title="Differences on the same prompts and seeds; p corrected for all of them (Holm)",
        title_justify="left",
    )
    for name in ("motion", "against", "score"):
        table.add_column(name)
    for name in ("difference", "p"):
        table.add_column(name, justify="right")
    for each in comparisons:
        estimate = each.difference.estimate
        interval = f"{estimate.low:+.3f} to {estimate.high:+.3f}"
        if math.isinf(estimate.low):
            interval = "one prompt"
        shown = f"{estimate.value:+.3f} ({interval})"
        table.add_row(each.first, each.second, each.metric, shown, f"{each.corrected:.4f}")
    return table
