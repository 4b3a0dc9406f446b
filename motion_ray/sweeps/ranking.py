"""Which finished trial of a motion is its best.

The best is the one whose loss on D^m at the step of its delta is lowest. Every delta that a run
publishes was validated above the appearance floor, so appearance is already seen to and is not
weighed again (see :mod:`motion_ray.sweeps.policy` for why it must not be maximised). Losses of
different yardsticks, for example of two timestep densities, are made comparable by dividing by what
the untrained model has there.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from motion_ray.sweeps.curves import Curve, Estimate, estimate
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial

LAST_SHARE = 0.25  # of max_steps before the delta's step: long enough for a steady mean
FIRST_SHARE = 0.1  # of max_steps from the start: what the hardly trained model has


@dataclass(frozen=True)
class Entry:
    """A trial with everything that is known of it.

    Attributes:
        trial: what was asked for.
        status: what became of it.
        curve: its course.
    """

    trial: Trial
    status: TrialStatus
    curve: Curve

    @property
    def delta_step(self) -> int | None:
        """The step whose weights are in its delta; null before it has finished."""
        return None if self.status.result is None else int(self.status.result["delta_step"])


@dataclass(frozen=True)
class Standing:
    """An entry and its place.

    Attributes:
        entry: the trial.
        rank: 1 is the best of the motion; null for what has no delta.
        remaining: loss on D^m at the delta's step (or the last known one) as a share of
            ``untrained``; below 1 something was learned.
        untrained: loss on D^m of the hardly trained model, the same for all of a yardstick.
        appearance: CLIP appearance at that step; null if it was never validated.
    """

    entry: Entry
    rank: int | None
    remaining: Estimate
    untrained: float
    appearance: float | None


def rank(entries: Iterable[Entry]) -> dict[str, list[Standing]]:
    """Name of each motion to its trials: the finished ones from the best on, then the others.

    Args:
        entries: of any number of motions.
    """
    entries = list(entries)
    untrained = _untrained(entries)
    motions: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        motions[entry.trial.motion].append(entry)
    return {name: _ranked(group, untrained) for name, group in motions.items()}


def best(standings: Sequence[Standing]) -> Standing | None:
    """The first of a motion; null if none has finished."""
    return standings[0] if standings and standings[0].rank == 1 else None


def _ranked(entries: list[Entry], untrained: Mapping[str, float]) -> list[Standing]:
    placed = [(remaining_loss(entry, untrained[entry.curve.yardstick]), entry) for entry in entries]
    placed.sort(key=lambda each: _order(*each))
    standings, place = [], 0
    for remaining, entry in placed:
        finished = entry.status.state is TrialState.FINISHED
        place += finished
        standings.append(
            Standing(
                entry=entry,
                rank=place if finished else None,
                remaining=remaining,
                untrained=untrained[entry.curve.yardstick],
                appearance=_appearance(entry),
            )
        )
    return standings


def _order(remaining: Estimate, entry: Entry) -> tuple[bool, float, str]:
    known = math.inf if math.isnan(remaining.mean) else remaining.mean
    return (entry.status.state is not TrialState.FINISHED, known, entry.trial.identity)


def _untrained(entries: Iterable[Entry]) -> dict[str, float]:
    """Yardstick to the loss of the first steps: one number for each, so that trials of one
    yardstick are ordered by their losses alone. It is the median over trials, because some diverge
    from the start.
    """
    means: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        first = first_loss(entry.curve)
        means[entry.curve.yardstick] += [] if math.isnan(first) else [first]
    return {key: statistics.median(values or [math.nan]) for key, values in means.items()}


def first_loss(curve: Curve) -> float:
    """Loss on D^m of the hardly trained model; NaN if no motion clip was drawn there."""
    first = math.ceil(FIRST_SHARE * curve.max_steps)
    losses = [loss for step, loss in curve.losses.items() if step <= first]
    return statistics.fmean(losses) if losses else math.nan


def remaining_loss(entry: Entry, untrained: float) -> Estimate:
    """Loss on D^m at the step of the delta, or the last known one, as a share of ``untrained``."""
    curve = entry.curve
    last = entry.delta_step or max(curve.losses, default=0)
    first = last - math.ceil(LAST_SHARE * curve.max_steps)
    found = estimate([loss for step, loss in curve.losses.items() if first < step <= last])
    return Estimate(found.mean / untrained, found.error / untrained)


def _appearance(entry: Entry) -> float | None:
    last = entry.delta_step
    seen = [each for each in entry.curve.scored if last is None or each.step <= last]
    return seen[-1].appearance if seen else None
