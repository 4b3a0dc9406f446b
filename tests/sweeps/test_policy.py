"""Which trials are ended early: on recorded runs, and on drawn ones for what must always hold."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_ray.sweeps.curves import Curve, Scored, loss_difference, read_curve, yardstick
from motion_ray.sweeps.policy import Verdict, diverging, judge
from motion_ray.sweeps.spec import PolicySettings
from tests.sweeps.recorded_curves import recorded
from tests.sweeps.samples import trial

SLOW, MIDDLE, GOOD = "lr 1e-05, seed 0", "lr 0.0001, seed 0", "lr 0.001, seed 0"


def replay(names: tuple[str, ...], rules: PolicySettings) -> dict[str, Verdict]:
    """Runs side by side, judged at every validation; who was ended."""
    ended: dict[str, Verdict] = {}
    for step in range(20, 161, 20):
        curves = [recorded(step)[name] for name in names if name not in ended]
        verdicts = judge(curves, [curve.trial for curve in curves], rules)
        ended |= {verdict.trial: verdict for verdict in verdicts}
    return ended


# --- recorded runs --------------------------------------------------------------------------------


def test_appearance_alone_would_crown_the_run_that_learned_least() -> None:
    curves = recorded()
    for index in range(1, 9):
        ranking = sorted(
            (SLOW, MIDDLE, GOOD), key=lambda name: -curves[name].scored[index].appearance
        )
        assert ranking == [SLOW, MIDDLE, GOOD]  # and ASHA would end GOOD at its first rung
    last = {name: loss_difference(curves[name], curves[SLOW], 8, 8) for name in (MIDDLE, GOOD)}
    assert last[GOOD].mean < last[MIDDLE].mean < 0  # the motion: the other way round


def test_the_policy_keeps_the_run_that_learned_most_and_ends_the_others() -> None:
    ended = replay((SLOW, MIDDLE, GOOD), PolicySettings())
    assert {name: (v.rule, v.step, v.rival) for name, v in ended.items()} == {
        SLOW: ("dominated", 60, MIDDLE),
        MIDDLE: ("dominated", 120, GOOD),
    }
    assert "loss on the motion lower by 0.0102" in ended[SLOW].reason


def test_a_better_motion_at_the_price_of_appearance_ends_only_what_has_not_moved() -> None:
    strict = PolicySettings(appearance_tolerance=0.002)
    ended = replay((SLOW, MIDDLE, GOOD), strict)
    assert {name: v.rule for name, v in ended.items()} == {SLOW: "unmoved"}


def test_no_verdict_falls_in_the_grace_period_or_on_one_validation() -> None:
    assert replay((SLOW, GOOD), PolicySettings(grace=0.9, confirmations=3)) == {}
    early = [recorded(40)[name] for name in (SLOW, MIDDLE)]
    assert judge(early, [SLOW], PolicySettings(confirmations=2)) == []
    assert [v.trial for v in judge(early, [SLOW], PolicySettings(confirmations=1))] == [SLOW]


def test_a_rival_below_its_floor_ends_nobody() -> None:
    curves = recorded(60)
    high = [dataclasses.replace(each, floor=0.799) for each in curves[MIDDLE].scored]
    fallen = dataclasses.replace(curves[MIDDLE], scored=high)
    assert judge([curves[SLOW], curves[MIDDLE]], [SLOW], PolicySettings()) != []
    assert judge([curves[SLOW], fallen], [SLOW], PolicySettings()) == []


def test_a_diverging_run_is_ended_without_any_rival() -> None:
    name = "lr 0.01, seed 0, no floor"
    [verdict] = judge([recorded(60)[name]], [name], PolicySettings())
    assert (verdict.rule, verdict.step, verdict.rival) == ("diverging", 60, None)
    for good in (SLOW, MIDDLE, GOOD):
        assert all(
            diverging(recorded(step)[good], PolicySettings()) is None for step in range(20, 161, 20)
        )


def test_pairing_takes_away_most_of_the_noise() -> None:
    curves = recorded()
    unpaired = dataclasses.replace(curves[SLOW], draws="another seed")
    for index in range(5, 9):
        with_pairs = loss_difference(curves[MIDDLE], curves[SLOW], index, index)
        without = loss_difference(curves[MIDDLE], unpaired, index, index)
        assert with_pairs.mean == pytest.approx(without.mean, abs=2 * without.error)
        assert with_pairs.error < 0.25 * without.error


# --- what must always hold ------------------------------------------------------------------------


def drawn(name: str, seed: int, level: float, drift: float, yard: str = "a") -> Curve:
    chance = random.Random(seed)
    steps = range(1, 201)
    losses = {step: level * (1 - drift * step / 200) + chance.gauss(0, 0.02) for step in steps}
    scored = [Scored(step, 0.8 - chance.uniform(0, 0.1), 0.72) for step in range(0, 201, 50)]
    return Curve(name, yard, f"{seed}", 200, scored, losses)


curve_sets = st.lists(
    st.tuples(
        st.integers(0, 10_000), st.floats(0.1, 0.5), st.floats(-1, 0.9), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=8,
)
rules = st.builds(
    PolicySettings,
    grace=st.floats(0, 0.5),
    confirmations=st.integers(1, 3),
    confidence=st.floats(0.1, 5),
    appearance_tolerance=st.floats(0, 0.2),
    diverging=st.just(100.0),
)


@settings(max_examples=150, deadline=None)
@given(curve_sets, rules, st.randoms(use_true_random=False))
def test_of_the_trials_of_a_motion_one_remains_and_order_does_not_matter(
    values: list[tuple[int, float, float, str]], chosen: PolicySettings, order: random.Random
) -> None:
    curves = [drawn(f"{i}", *value) for i, value in enumerate(values)]
    names = [curve.trial for curve in curves]
    verdicts = judge(curves, names, chosen)
    left = {curve.yardstick for curve in curves if curve.trial not in {v.trial for v in verdicts}}
    assert left == {curve.yardstick for curve in curves}
    order.shuffle(curves)
    assert judge(curves, reversed(names), chosen) == verdicts


@settings(max_examples=100, deadline=None)
@given(curve_sets, rules)
def test_only_running_trials_are_ended_and_only_by_those_that_learned_more(
    values: list[tuple[int, float, float, str]], chosen: PolicySettings
) -> None:
    curves = {f"{i}": drawn(f"{i}", *value) for i, value in enumerate(values)}
    running = [name for name in curves if int(name) % 2]
    for verdict in judge(curves.values(), running, chosen):
        assert verdict.trial in running and verdict.rival is not None
        one, other = curves[verdict.trial], curves[verdict.rival]
        assert one.yardstick == other.yardstick
        last = len(one.scored) - 1
        assert loss_difference(one, other, last, last).mean > 0


def test_trials_without_a_validation_are_left_alone() -> None:
    young = Curve("young", "a", "0", 200, (), {1: 0.3})
    assert judge([young, drawn("old", 0, 0.1, 0.9)], ["young"], PolicySettings(grace=0)) == []


# --- reading --------------------------------------------------------------------------------------


def test_a_course_is_read_from_the_metrics_of_a_run() -> None:
    lines = [
        {"event": "validation", "step": 0, "appearance": 0.8, "floor": 0.72, "passed": True},
        {"event": "step", "step": 1, "losses": {"motion": 0.3, "regularization": 0.1}},
        {"event": "step", "step": 2, "losses": {"regularization": 0.1}},
        {"event": "step", "step": 3, "losses": {"motion": 0.2}},
        {"event": "validation", "step": 3, "appearance": 0.79, "floor": 0.72, "passed": True},
    ]
    one = trial(1)
    curve = read_curve(one.identity, one.config, lines)
    assert curve.window(1) == {1: 0.3, 3: 0.2} and curve.window(0) == {}
    assert (curve.base_appearance, curve.max_steps) == (0.8, one.config.max_steps)


def test_losses_are_compared_only_where_they_measure_the_same() -> None:
    config = trial(1).config
    same = [{"optimizer": {"lr": 1e-5}}, {"seed": 9}, {"groups": ["temporal_conv"]}]
    other = [{"density": {"kind": "uniform"}}, {"motion": "x"}, {"clips": {"frames": 4}}]
    assert all(yardstick(config.replace(change)) == yardstick(config) for change in same)
    assert all(yardstick(config.replace(change)) != yardstick(config) for change in other)
