"""What a report tells about single trainings: how much they differ, and what that leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from motion_ray.evaluation.bootstrap import Estimate
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.findings import Findings, absent
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.retraining import FEWEST, Survival
from motion_ray.reproduction.section import Section, TableRow

COLUMNS = ("difference", "trainings for it", "trainings against it", "p", "survives")
UNITS = (
    "Here every training (a motion and a seed) is one number. The interval says what other "
    "trainings of the same motions would change. p counts motions that contradict each other as "
    "chance too; it is corrected over the differences of this table (Holm)."
)


def of_retraining(found: Reproduction) -> list[Section]:
    """Which differences survive; nothing where no method was trained often enough to tell."""
    survivals = found.survivals
    tested = [each for each in survivals if each.p is not None]
    if not tested:
        return []
    left = len(survivals) - len(tested)
    few = f" Of other claims' differences there are fewer than {FEWEST} trainings, too few: {left}."
    return [
        Section(
            "Beyond the paper: which differences survive other trainings",
            *("claim", COLUMNS),
            tuple(_survival(each, found.scale.motions) for each in tested),
            papers=False,
            note=UNITS + (few if left else ""),
        )
    ]


def _survival(survival: Survival, motions: Sequence[str]) -> TableRow:
    missing = absent(motions, survival.motions)
    cells = (
        _of_trainings(survival.estimate),
        f"{survival.better} of {survival.trainings}",
        str(survival.worse),
        f"{survival.p:.3g}",
        survival.word,
    )
    note = f"without {', '.join(missing)}" if missing else ""
    return TableRow(survival.claim.text, tuple((cell, "") for cell in cells), note)


def _of_trainings(estimate: Estimate) -> str:
    """A motion with one training does not tell how much trainings differ."""
    return f"{estimate.value:.3f}" if math.isinf(estimate.low) else str(estimate)


def one_by_one(found: Reproduction) -> list[Section]:
    """Accuracy by motion and training seed, of methods with several: how much trainings differ."""
    scale = found.scale
    methods = {
        row.method: (row.title, scale.headline_seeds if row.headline else scale.seeds)
        for experiment in found.experiments
        for row in experiment.rows
        if row.headline or len(scale.seeds) > 1
    }
    cells = [
        (title, seed, [Cell(method, motion, seed) for motion in scale.motions])
        for method, (title, seeds) in methods.items()
        for seed in seeds
    ]
    if sum(len(row) for _, _, row in cells) < 2:
        return []
    rows = [
        TableRow(
            f"{title}, seed {seed}", tuple((_rights(found.findings, cell), "") for cell in row)
        )
        for title, seed, row in cells
    ]
    return [
        Section(*("Each training: videos with the motion", "training"), scale.motions, tuple(rows))
    ]


def _rights(findings: Findings, cell: Cell) -> str:
    for look in findings.looks:
        if look.final and look.cell == cell:
            return f"{sum(row.right for row in look.rows)} of {len(look.rows)}"
    if cell in findings.to_come:
        return "to come"
    return "failed" if any(each.cell == cell for each in findings.failed) else "not run"
