"""What a searcher is told: the leaderboard's order, and never that learning nothing is good."""

from __future__ import annotations

import dataclasses

import pytest

from motion_ray.sweeps.curves import Curve
from motion_ray.sweeps.objective import assess
from motion_ray.sweeps.ranking import Entry, rank
from motion_ray.sweeps.status import TrialState, TrialStatus
from tests.sweeps.recorded_curves import recorded
from tests.sweeps.samples import result, trial

SLOW, MIDDLE, GOOD = "lr 1e-05, seed 0", "lr 0.0001, seed 0", "lr 0.001, seed 0"


def entry(number: int, curve: Curve, state: TrialState = TrialState.FINISHED) -> Entry:
    ended = dataclasses.asdict(result(step=160)) if state is TrialState.FINISHED else None
    return Entry(trial(number), TrialStatus(state=state, attempts=1, result=ended), curve)


def test_recorded_trials_are_ordered_as_on_the_leaderboard_and_not_by_appearance() -> None:
    curves = recorded()
    entries = [entry(number, curves[name]) for number, name in enumerate((SLOW, MIDDLE, GOOD))]
    scales: dict[str, float] = {}
    values: dict[str, float] = {}
    for each in entries:
        found = assess(each, scales)
        assert found.untrained is not None
        scales.setdefault(found.yardstick, found.untrained)
        values[each.trial.identity] = found.value
    [standings] = rank(entries).values()
    by_value = sorted(values, key=lambda identity: values[identity])
    assert by_value == [row.entry.trial.identity for row in standings]
    appearance = {row.entry.trial.identity: row.appearance or 0.0 for row in standings}
    # The one that kept most of its appearance has learned least.
    assert max(appearance, key=lambda identity: appearance[identity]) != by_value[0]


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.STOPPED_BY_POLICY])
def test_a_trial_without_a_delta_is_never_better_than_one_that_learned(state: TrialState) -> None:
    curves = recorded()
    good = assess(entry(1, curves[GOOD]), {})
    without = assess(entry(2, curves[SLOW], state), {})
    assert good.value < without.value <= 1.0
    if state is TrialState.FAILED:
        assert without.value == 1.0 and without.untrained is None


def test_one_that_diverged_or_never_ran_has_learned_nothing() -> None:
    curve = recorded()[SLOW]
    worse = {step: loss * (1 if step <= 16 else 7) for step, loss in curve.losses.items()}
    diverged = entry(1, dataclasses.replace(curve, losses=worse), TrialState.STOPPED_BY_POLICY)
    assert assess(diverged, {}).value == 1.0
    never = entry(2, dataclasses.replace(curve, losses={}), TrialState.STOPPED_BY_POLICY)
    assert assess(never, {}).value == 1.0


def test_trials_of_one_yardstick_share_one_scale() -> None:
    curve = recorded()[SLOW]
    lucky = {step: loss * (2 if step <= 16 else 1) for step, loss in curve.losses.items()}
    first = assess(entry(1, curve), {})
    assert first.untrained is not None
    scales = {first.yardstick: first.untrained}
    # A bad beginning must not make the same end look better.
    second = assess(entry(2, dataclasses.replace(curve, losses=lucky)), scales)
    assert second.value == first.value
