"""From looks to what tables and claims are made of; computed from rows alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.evaluation.bootstrap import (
    Estimate,
    Observation,
    estimate_mean,
    estimate_rate,
)
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.scoreboard import MEANS, RATES, Group, Value, copying, group_rows
from motion_ray.reproduction.claims import Bound, Claim, Contrast, Key, Observed, Verdict, judge
from motion_ray.reproduction.experiments import (
    BASE,
    COPYING,
    COUNT,
    FIRST,
    IN_SCENE,
    JUMPING,
    KICKING,
    LAST,
    NEAREST,
    Experiment,
)
from motion_ray.reproduction.looking import Look
from motion_ray.reproduction.matching import appearance, matched
from motion_ray.reproduction.record import Failed

SEEN = 0.02  # by which a motion's probability has to rise in drawn clips that show it


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
        staged: rows of our results in other scenes, and of drawn clips of them, by scene.
        extra: scores that only scenes are about.
    """

    looks: Sequence[Look] = ()
    controls: Sequence[Measurement] = ()
    failed: Sequence[Failed] = ()
    threshold: float | None = None
    staged: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    extra: Mapping[str, Value] = field(default_factory=dict)
    _groups: dict[str, Group | None] = field(default_factory=dict, compare=False)
    _verdicts: dict[tuple[str, ...], dict[str, list[Verdict]]] = field(
        default_factory=dict, compare=False
    )

    def group(self, method: str) -> Group | None:
        """Scores of a row of a table over all its cells; None without videos."""
        if method not in self._groups:
            self._groups[method] = self._score(self.rows(method))
        return self._groups[method]

    def rows(self, method: str, among: Sequence[str] = ()) -> list[Measurement]:
        """Videos of a row.

        Args:
            method: of a recipe; :data:`BASE`, :data:`FIRST` or :data:`LAST`; or a scene or a kind
                of puppet after :data:`IN_SCENE`.
            among: methods, itself included, with whose looks its own are to be matched in
                appearance; none: the last look of each cell.
        """
        if method == BASE:
            return [row for row in self.controls if row.question.part is Part.BASE]
        if method in (FIRST, LAST):
            return _joined(self._ends("ours", last=method == LAST))
        if method.startswith(IN_SCENE):
            return self.in_scene(method.removeprefix(IN_SCENE))
        if among:
            return _joined(matched(self.looks, among)[method])
        return _joined(look for look in self.looks if look.cell.method == method and look.final)

    def in_scene(self, name: str, *, drawn: bool = False) -> list[Measurement]:
        """Videos of our results, or drawn clips.

        Args:
            name: of a scene or a kind of puppet; empty: the usual prompts.
            drawn: whether to return drawn clips.
        """
        part = Part.REAL if drawn else Part.CUSTOMIZED
        if name and name not in KINDS:
            return [row for row in self.staged.get(name, ()) if row.question.part is part]
        usual = self.controls if drawn else self.rows("ours")
        return [
            row for row in usual if row.question.part is part and name in ("", row.question.kind)
        ]

    def estimate(self, rows: Sequence[Measurement], metric: str) -> Estimate | None:
        """One score of rows that belong together; None if it was not measured."""
        value = self._values().get(metric)
        observed = [] if value is None else list(_observations(rows, value).values())
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
            group = self._score(_joined(there))
            if group is not None:
                points.append(CurvePoint(step, group.scores))
        return points

    def verdicts(self, experiments: Sequence[Experiment]) -> dict[str, list[Verdict]]:
        """What was found about every claim, by experiment; p values are corrected over all."""
        names = tuple(each.name for each in experiments)
        if names not in self._verdicts:
            self._verdicts[names] = self._judge(experiments)
        return self._verdicts[names]

    def _judge(self, experiments: Sequence[Experiment]) -> dict[str, list[Verdict]]:
        claims = [(e.name, claim) for e in experiments for claim in e.claims]
        observed: dict[Key, Observed | str] = {}
        for _, claim in claims:
            for method in claim.methods:
                key = (method, claim.metric, claim.among)
                observed.setdefault(key, self._observed(method, claim))
        judged = judge([claim for _, claim in claims], observed)
        found: dict[str, list[Verdict]] = {e.name: [] for e in experiments}
        for (name, claim), verdict in zip(claims, judged, strict=True):
            told = f"{verdict.because}{self._basis(claim)}" if verdict.estimate else verdict.because
            found[name].append(replace(verdict, because=told))
        return found

    def _basis(self, claim: Claim) -> str:
        """What a difference was measured on, and where looks were matched."""
        if not isinstance(claim, Contrast):
            return ""
        rows = [self.rows(method, claim.among) for method in claim.methods]
        keys = set.intersection(*(set(_pairs(each)) for each in rows))
        seeds = sorted({seed for _, _, _, seed in keys if seed is not None})
        said = f" ({len(keys)} pairs"
        if seeds:
            said += f", training seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        if claim.among:
            looks = matched(self.looks, claim.among)
            kept = (f"{fmean(map(appearance, looks[m])):.3f}" for m in claim.among)
            said += f", of {len(looks[claim.among[0]])} trainings each at appearance "
            said += " and ".join(kept)
        return f"{said})"

    def _observed(self, method: str, claim: Claim) -> Observed | str:
        rows = self.rows(method, claim.among)
        if method.startswith(IN_SCENE) and method not in (FIRST, LAST):
            reason = self._untellable(method.removeprefix(IN_SCENE), rows, claim)
            if reason:
                return reason
        if claim.among and not rows and all(map(self.rows, claim.among)):
            return "no looks of all keep the same appearance"
        if claim.among and not rows:
            rows = self.rows(method)  # there is one whose absence is the reason
        if not rows:
            reasons = [each.reason for each in self.failed if each.cell.method == method]
            return reasons[0] if reasons else "it was not trained"
        group = self._score(rows) if claim.metric in (COPYING, NEAREST) else None
        if group is not None and COPYING in group.refused:
            return group.refused[COPYING]
        value = self._values().get(claim.metric)
        if value is None:
            return f"{claim.metric} was not run"
        return _observations(rows, value)

    def _untellable(self, name: str, rows: Sequence[Measurement], claim: Claim) -> str:
        """Why nothing can be said about a scene; empty if it can."""
        if not rows and self.rows("ours"):
            return "nothing was asked of it"
        ceiling = self.estimate(self.in_scene(name, drawn=True), claim.metric)
        if isinstance(claim, Bound):
            if not claim.above or ceiling is None or ceiling.value > claim.limit:
                return ""
            return f"the evaluators see it in only {ceiling.value:.0%} of drawn clips of the scene"
        usual = self.estimate(self.in_scene("", drawn=True), claim.metric)
        if claim.metric not in (JUMPING, KICKING) or ceiling is None or usual is None:
            return ""
        if ceiling.value - usual.value >= SEEN:
            return ""
        return (
            f"the classifier hardly sees it in drawn clips either ({ceiling.value:.3f}, without it "
            f"{usual.value:.3f})"
        )

    def _values(self) -> dict[str, Value]:
        copies: dict[str, Value] = {}
        if self.threshold is not None:
            copies = {**copying(self.threshold), NEAREST: _nearest}
        return {**RATES, **MEANS, **copies, **self.extra}

    def _score(self, rows: Sequence[Measurement]) -> Group | None:
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


def _pairs(rows: Iterable[Measurement]) -> dict[Pair, Measurement]:
    asked = ((row.question, row) for row in rows)
    return {(q.motion, q.prompt, q.seed, q.training_seed): row for q, row in asked}


def _observations(rows: Iterable[Measurement], value: Value) -> dict[Hashable, Observation]:
    """The values that there are, by what makes two videos a pair; their cluster is the prompt."""
    found: dict[Hashable, Observation] = {}
    for key, row in _pairs(rows).items():
        number = value(row)
        if number is not None:
            motion, prompt, _, _ = key
            found[key] = Observation(number, (motion, prompt), motion)
    return found


def _nearest(row: Measurement) -> float | None:
    nearest = row.scores and row.scores.copy_any
    return None if nearest is None else nearest.score


def _joined(looks: Iterable[Look]) -> list[Measurement]:
    return [row for look in looks for row in look.rows]
