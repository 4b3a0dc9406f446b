"""What a searcher is told of a trial: the leaderboard's own order, as a number to be lowered.

A searcher that were given appearance would find out that the best trial is the one that learns
nothing (:mod:`motion_ray.sweeps.policy`). It is given the loss on D^m at the step of the delta, as
a share of the untrained model's, and nothing else: a finished trial's delta is above the appearance
floor, so the floor is already in that step. A trial that gave no delta, or one that is worse than
what it began with, has learned nothing: 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from motion_ray.sweeps.ranking import Entry, first_loss, remaining_loss
from motion_ray.sweeps.status import TrialState

NOTHING_LEARNED = 1.0

#: A trial that the policy ended counts with what it had then: higher than its rival at that step,
#: or it would not have been ended.
COUNTED = (TrialState.FINISHED, TrialState.STOPPED_BY_POLICY)


@dataclass(frozen=True)
class Assessment:
    """A trial as a number.

    Attributes:
        value: share of the loss on the motion that is left, 0 to 1.
        yardstick: of the trial's losses.
        untrained: the loss that it is a share of; null if the trial has none.
    """

    value: float
    yardstick: str
    untrained: float | None


def assess(entry: Entry, scales: Mapping[str, float]) -> Assessment:
    """What a trial that is over is worth.

    Args:
        entry: the trial.
        scales: yardstick to untrained loss, of trials assessed before: one number for each
            yardstick, so that trials of one are ordered by their losses alone.
    """
    yardstick = entry.curve.yardstick
    if entry.status.state not in COUNTED:
        return Assessment(NOTHING_LEARNED, yardstick, None)
    untrained = scales.get(yardstick, first_loss(entry.curve))
    left = remaining_loss(entry, untrained).mean
    if not math.isfinite(left):
        return Assessment(NOTHING_LEARNED, yardstick, None)
    return Assessment(min(max(left, 0.0), NOTHING_LEARNED), yardstick, untrained)
