"""From looks to what tables and claims are made of; computed from rows alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.folders import slug
from motion_ray.evaluation.bootstrap import (
    Estimate,
    Observation,
    estimate_mean,
    estimate_rate,
)
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.scoreboard import (
    MEANS,
    RATES,
    Group,
    Value,
    copying,
    group_rows,
    observation,
)
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.experiment import (
    BASE,
    COUNT,
    FIRST,
    LAST,
    NEAREST,
    staged,
    unstaged,
)
from motion_ray.reproduction.looking import Look
from motion_ray.reproduction.matching import Matched, matched
from motion_ray.reproduction.record import Failed


@dataclass(frozen=True)
class CurvePoint:
    """A method at one step, over its cells.

    Attributes:
        step: of the deltas.
        scores: by name.
    """

    step: int
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class Findings:
    """Everything that was seen.

    Attributes:
        looks: of all cells, those on the way included.
        controls: rows of the base in words and of real clips.
        failed: cells that cannot be trained.
        threshold: cosine that makes a copy; None: copying was not run.
        staged: videos of methods' results in other scenes, by row
            (:func:`~motion_ray.reproduction.experiment.staged`).
        drawn: clips of the same scenes, by scene.
        extra: scores that only scenes are about.
        to_come: cells that are not trained yet.
    """

    looks: Sequence[Look] = ()
    controls: Sequence[Measurement] = ()
    failed: Sequence[Failed] = ()
    threshold: float | None = None
    staged: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    drawn: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    extra: Mapping[str, Value] = field(default_factory=dict)
    to_come: Sequence[Cell] = ()
    _groups: dict[str, Group | None] = field(default_factory=dict, init=False, compare=False)
    _matched: dict[tuple[str, ...], Matched] = field(
        default_factory=dict, init=False, compare=False
    )

    def group(self, method: str) -> Group | None:
        """Scores of a row of a table over all its cells; None without videos."""
        if method not in self._groups:
            self._groups[method] = self.score(self.rows(method))
        return self._groups[method]

    @property
    def ceiling(self) -> Group | None:
        """Scores of real clips that were not trained on; None if there are none."""
        real = [row for row in self.controls if row.question.part is Part.REAL]
        return group_rows(real, self.threshold)[-1] if real else None

    def matched(self, among: Sequence[str]) -> Matched:
        """Looks of these methods that keep the same appearance, see
        :func:`~motion_ray.reproduction.matching.matched`.
        """
        key = tuple(among)
        if key not in self._matched:
            self._matched[key] = matched(self.looks, key)
        return self._matched[key]

    def rows(self, method: str, among: Sequence[str] = ()) -> list[Measurement]:
        """Videos of a row.

        Args:
            method: of a recipe; :data:`BASE`, :data:`FIRST` or :data:`LAST`; or a method in a
                scene (:func:`~motion_ray.reproduction.experiment.staged`).
            among: methods, itself included, with whose looks its own are to be matched in
                appearance; none: the last look of each cell.
        """
        if method == BASE:
            return [row for row in self.controls if row.question.part is Part.BASE]
        if method in (FIRST, LAST):
            return _joined(self._ends("ours", last=method == LAST))
        own, scene = unstaged(method)
        if scene:
            return self.in_scene(own, scene)
        if among:
            return _joined(self.matched(among)[method])
        return _joined(look for look in self.looks if look.cell.method == method and look.final)

    def in_scene(self, method: str, scene: str) -> list[Measurement]:
        """Videos of a method's results.

        Args:
            method: of a recipe.
            scene: its name, or a kind of puppet; empty: the usual prompts.
        """
        if scene and scene not in KINDS:
            return list(self.staged.get(staged(method, scene), ()))
        return _of_kind(self.rows(method), scene)

    def drawn_of(self, scene: str) -> list[Measurement]:
        """Drawn clips of a scene, named as for :meth:`in_scene`."""
        if scene and scene not in KINDS:
            return list(self.drawn.get(scene, ()))
        return _of_kind((r for r in self.controls if r.question.part is Part.REAL), scene)

    def estimate(self, rows: Sequence[Measurement], metric: str) -> Estimate | None:
        """One score of rows that belong together; None if it was not measured."""
        observed = list((self.observations(rows, metric) or {}).values())
        if not observed:
            return None
        return estimate_rate(observed) if metric in (*RATES, COUNT) else estimate_mean(observed)

    def curve(self, method: str) -> list[CurvePoint]:
        """Scores by step, ascending. A cell that was stopped counts on with its last look: else the
        curve would go on with those that learn more slowly.
        """
        mine = [look for look in self.looks if look.cell.method == method]
        ends = [look for look in mine if look.final]
        points = []
        for step in sorted({look.step for look in mine}):
            there = [look for look in mine if look.step == step]
            there += [look for look in ends if look.step < step]
            group = self.score(_joined(there))
            if group is not None:
                points.append(CurvePoint(step, group.scores))
        return points

    def observations(
        self, rows: Iterable[Measurement], metric: str
    ) -> dict[Hashable, Observation] | None:
        """Values of a score, by what makes two videos a :data:`Pair`. None if it was not run."""
        value = self._values().get(metric)
        if value is None:
            return None
        found: dict[Hashable, Observation] = {}
        for key, row in pairs(rows).items():
            number = value(row)
            if number is not None:
                found[key] = observation(row, number)
        return found

    def _values(self) -> dict[str, Value]:
        copies: dict[str, Value] = {}
        if self.threshold is not None:
            copies = {**copying(self.threshold), NEAREST: _nearest}
        return {**RATES, **MEANS, **copies, **self.extra}

    def score(self, rows: Sequence[Measurement]) -> Group | None:
        """All scores of rows that belong together, over all motions; None without rows."""
        if not rows:
            return None
        part = rows[0].question.part
        real = [row for row in self.controls if row.question.part is Part.REAL]
        groups = group_rows([*rows, *real], self.threshold)
        # All motions together come last, where there are several.
        return [group for group in groups if group.part is part][-1]

    def _ends(self, method: str, *, last: bool) -> list[Look]:
        cells: dict[object, list[Look]] = {}
        for look in self.looks:
            if look.cell.method == method:
                cells.setdefault(look.cell, []).append(look)
        choose = max if last else min
        return [
            choose(looks, key=lambda look: look.step) for looks in cells.values() if len(looks) > 1
        ]


Pair = tuple[str, int, int, int | None]
"""What makes two videos a pair: motion, prompt, seed, training seed."""


def pairs(rows: Iterable[Measurement]) -> dict[Pair, Measurement]:
    """Rows by what makes two of different methods a pair."""
    asked = ((row.question, row) for row in rows)
    return {(q.motion, q.prompt, q.seed, q.training_seed): row for q, row in asked}


def absent(motions: Iterable[str], rows: Iterable[str]) -> list[str]:
    """Motions, as a scale names them, that rows have none of, each once.

    Args:
        motions: in words.
        rows: names of motions in rows, which are those of their folders.
    """
    there = {slug(motion) for motion in rows}
    return [motion for motion in dict.fromkeys(motions) if slug(motion) not in there]


def _of_kind(rows: Iterable[Measurement], kind: str) -> list[Measurement]:
    return [row for row in rows if kind in ("", row.question.kind)]


def _nearest(row: Measurement) -> float | None:
    nearest = row.scores and row.scores.copy_any
    return None if nearest is None else nearest.score


def _joined(looks: Iterable[Look]) -> list[Measurement]:
    return [row for look in looks for row in look.rows]
