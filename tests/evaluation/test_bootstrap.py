"""Intervals cover the truth as often as they say; tests agree with exact ones; Holm by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from motion_ray.evaluation import bootstrap
from motion_ray.evaluation.bootstrap import (
    Observation,
    estimate_mean,
    estimate_rate,
    paired_difference,
)
from motion_ray.evaluation.multiple import holm
from motion_ray.evaluation.statistics import Share


def rows(values: list[list[float]], stratum: str = "a") -> list[Observation]:
    return [Observation(v, (stratum, k), stratum) for k, each in enumerate(values) for v in each]


def test_a_mean_is_the_mean_over_motions_of_the_means_of_their_videos() -> None:
    found = estimate_mean([*rows([[1.0, 3.0], [5.0]]), *rows([[7.0], [7.0]], "b")])
    assert found.value == (3.0 + 7.0) / 2
    assert (found.videos, found.clusters) == (5, 4)
    assert found.low < found.value < found.high


def simulated(rng: np.random.Generator, clusters: int, videos: int, between: float) -> float:
    """Draw clusters whose videos share an effect; whether the interval covers the truth, 0."""
    effects = rng.normal(0, between, clusters)
    noise = rng.normal(0, 1, (clusters, videos))
    found = estimate_mean(rows((effects[:, None] + noise).tolist()), resamples=600)
    return found.low <= 0 <= found.high


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [8, 40])
def test_intervals_cover_the_truth_in_95_of_100_samples_with_alike_videos(clusters: int) -> None:
    rng = np.random.default_rng(0)
    covered = sum(simulated(rng, clusters, 3, 1.0) for _ in range(500))
    # Four standard deviations of a count with p = 0.95; the tails' t holds for few clusters too.
    assert abs(covered - 475) < 4 * math.sqrt(500 * 0.95 * 0.05)


def test_taking_alike_videos_as_independent_would_cover_far_less() -> None:
    """The simulation can tell: with every video a cluster of its own, intervals are too narrow."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        values = rng.normal(0, 2, (20, 1)) + rng.normal(0, 0.5, (20, 5))
        alone = [Observation(float(v), number) for number, v in enumerate(values.flatten())]
        found = estimate_mean(alone, resamples=400)
        covered += found.low <= 0 <= found.high
    assert covered < 150


@pytest.mark.slow
def test_rates_of_clustered_videos_are_covered() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        chances = rng.beta(1.4, 0.6, 50)  # mean 0.7, prompts differ much
        shown = (rng.random((50, 3)) < chances[:, None]).astype(float)
        found = estimate_rate(rows(shown.tolist()), resamples=600)
        covered += found.low <= 0.7 <= found.high
    assert abs(covered - 380) < 4 * math.sqrt(400 * 0.95 * 0.05)


def test_a_rate_without_spread_still_has_an_interval() -> None:
    found = estimate_rate(rows([[1.0] * 3] * 20))
    assert found.value == 1.0
    assert (found.low, found.high) == pytest.approx(Share(20, 20).interval())
    none = estimate_rate(rows([[0.0] * 3] * 20))
    assert none.low == 0.0 and none.high == pytest.approx(1 - found.low)


def test_a_single_prompt_tells_nothing_about_prompts() -> None:
    assert estimate_mean(rows([[1.0, 2.0]])).high == math.inf
    assert estimate_rate(rows([[1.0, 0.0, 1.0]])).low > 0


def test_one_prompt_in_one_motion_leaves_the_whole_without_an_interval() -> None:
    found = estimate_mean([*rows([[0.7], [0.6], [0.8]]), *rows([[0.2]], "b")])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.to_dict()["low"] is None and str(found) == "0.450 (no interval: too few prompts)"


def crossed(values: np.ndarray) -> list[Observation]:
    """Values ``[motions, prompts]`` of prompts that all motions are asked."""
    return [
        Observation(float(v), prompt, motion)
        for motion, row in enumerate(values)
        for prompt, v in enumerate(row)
    ]


def width(observations: list[Observation]) -> float:
    found = estimate_mean(observations)
    return found.high - found.low


def test_prompts_that_all_motions_are_asked_are_resampled_together() -> None:
    """Where a prompt is as hard in five motions as in one, five tell no more than one."""
    rng = np.random.default_rng(4)
    prompts = rng.normal(0, 1, 20)
    alone, alike = crossed(prompts[None]), crossed(np.tile(prompts, (5, 1)))
    assert width(alike) == pytest.approx(width(alone), rel=0.02)
    nested = [Observation(o.value, (o.stratum, o.cluster), o.stratum) for o in alike]
    assert width(nested) < 0.6 * width(alone)
    assert estimate_mean(alike).clusters == estimate_mean(nested).clusters == 100


@pytest.mark.slow
def test_intervals_of_crossed_prompts_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        values = rng.normal(0, 1, (1, 20)) + rng.normal(0, 1, (5, 20))
        found = estimate_mean(crossed(values), resamples=600)
        covered += found.low <= 0 <= found.high
    assert abs(covered - 380) < 4 * math.sqrt(400 * 0.95 * 0.05)


def test_motions_with_some_prompts_in_common() -> None:
    """Also where a resample may hold none of a motion's prompts."""
    some = [Observation(1.0, k, "a") for k in range(9)]
    some += [Observation(5.0, k, "b") for k in (7, 8)]
    found = estimate_mean(some)
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)
    assert found.clusters == 11


def test_nothing_is_no_number() -> None:
    assert math.isnan(estimate_mean([]).value)
    assert estimate_rate([]).to_dict()["value"] is None
    with pytest.raises(ValueError, match="not finite"):
        estimate_mean(rows([[math.nan]]))
    with pytest.raises(ValueError, match="0 and 1"):
        estimate_rate(rows([[0.5]]))


# --- pairs ----------------------------------------------------------------------------------------


def settings(values: list[float]) -> dict[object, Observation]:
    return {("waving", k, 0): Observation(v, k, "waving") for k, v in enumerate(values)}


@pytest.mark.parametrize(("better", "worse"), [(5, 1), (9, 2), (4, 4)])
def test_with_one_video_a_prompt_the_p_value_is_mcnemars(better: int, worse: int) -> None:
    ours = [1.0] * better + [0.0] * worse + [1.0] * 10 + [0.0] * 10
    theirs = [0.0] * better + [1.0] * worse + [1.0] * 10 + [0.0] * 10
    found = paired_difference(settings(ours), settings(theirs))  # type: ignore[arg-type]
    exact = binomtest(better, better + worse).pvalue
    assert found.p == pytest.approx(exact)
    assert found.estimate.value == pytest.approx((better - worse) / len(ours))


@pytest.mark.slow
def test_p_values_of_no_difference_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "FLIPS", 10_000)  # a p to the hundredth is enough
    rng = np.random.default_rng(2)
    p = []
    for _ in range(300):
        prompts = rng.normal(0, 3, 25)
        one, two = (settings((prompts + rng.normal(0, 1, 25)).tolist()) for _ in range(2))
        p.append(paired_difference(one, two, resamples=10).p)  # type: ignore[arg-type]
    # Kolmogorov's bound at 0.1 % for 300 numbers.
    assert max(abs(np.mean(np.array(p) <= x) - x) for x in np.linspace(0, 1, 101)) < 0.113


@pytest.mark.slow
def test_p_values_of_prompts_with_effects_in_all_motions_are_uniform() -> None:
    rng = np.random.default_rng(6)
    p = []
    for _ in range(300):
        values = rng.normal(0, 1, (1, 15)) + rng.normal(0, 1, (3, 15))
        one = {(o.stratum, o.cluster): o for o in crossed(values)}
        none = {key: Observation(0.0, o.cluster, o.stratum) for key, o in one.items()}
        p.append(paired_difference(one, none, resamples=10).p)  # type: ignore[arg-type]
    assert max(abs(np.mean(np.array(p) <= x) - x) for x in np.linspace(0, 1, 101)) < 0.113


@pytest.mark.parametrize("prompts", [20, 21])
def test_p_does_not_depend_on_the_coins(prompts: int) -> None:
    """All signs are tried up to 20 prompts; of more, enough."""
    values = np.random.default_rng(7).normal(0.6, 1, prompts).tolist()
    one, none = settings(values), settings([0.0] * prompts)
    found = [paired_difference(one, none, seed=s).p for s in range(3)]  # type: ignore[arg-type]
    assert found == pytest.approx([of_all_signs(values)] * 3, rel=1e-9 if prompts == 20 else 0.1)


def of_all_signs(values: list[float]) -> float:
    """Share of all sign flips whose sum is no smaller, straightforwardly; some at a time, since
    all at once would take a gigabyte.
    """
    every, some, reached = 2 ** len(values), 2**16, 0
    for start in range(0, every, some):
        numbers = np.arange(start, min(start + some, every))
        signs = 1 - 2 * (numbers[:, None] >> np.arange(len(values)) & 1)
        reached += int((np.abs(signs @ np.array(values)) >= abs(sum(values)) - 1e-9).sum())
    return reached / every


def test_pairing_takes_out_what_prompts_have_in_common() -> None:
    rng = np.random.default_rng(3)
    prompts = rng.normal(0, 10, 40)
    one, two = settings((prompts + 0.5).tolist()), settings(prompts.tolist())
    two.pop(("waving", 0, 0))
    found = paired_difference(one, two)  # type: ignore[arg-type]
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.5, 0.5))
    assert found.p < 0.001 and found.alone == 1
    with pytest.raises(ValueError, match="in common"):
        paired_difference({}, two)  # type: ignore[arg-type]


# --- Holm -----------------------------------------------------------------------------------------


def test_holms_correction_by_hand() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    # In order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, and the last not below the one before.
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]
    assert holm({}) == {}
    with pytest.raises(ValueError, match="between"):
        holm({"a": 1.2})


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p: list[float]) -> None:
    found = holm(dict(enumerate(p)))
    for i, own in enumerate(p):
        assert own <= found[i] <= min(1.0, own * len(p)) + 1e-12
        assert all(found[i] <= found[j] for j, other in enumerate(p) if own < other)
