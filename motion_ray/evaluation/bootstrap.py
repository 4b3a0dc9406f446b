"""Intervals and paired tests for scores of videos whose prompts are alike.

Three videos of one prompt tell less than three prompts, so prompts are what is resampled, with all
their videos (a cluster bootstrap), motion by motion (strata). A score over several motions is the
mean of the motions' scores, however many videos each has. Of few clusters a percentile interval is
too narrow, so its tails are widened as if it were Student's (T. Hesterberg, What Teachers Should
Know About the Bootstrap, 2015, section 5.3).

Shapes: v videos, k clusters, b resamples.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from motion_ray.evaluation.statistics import Share

RESAMPLES = 2000
FLIPS = 4000
FEW = 5  # clusters that differ from the rest; of fewer, resampling underestimates the spread
EXACT_CLUSTERS = 12  # up to so many, all sign flips are tried instead of some
CLOSE = 1e-9  # of the largest possible sum: what differs by rounding alone counts as equal
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A number that was measured on one video.

    Attributes:
        value: for example 1.0 if the motion was recognised, 0.0 if not.
        cluster: what it shares with others: its prompt.
        stratum: what a score is the mean over: its motion.
    """

    value: float
    cluster: Hashable
    stratum: Hashable = None


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        value: the mean over strata of the means of their videos; NaN of nothing.
        low: of the interval.
        high: of the interval.
        videos: how many numbers are behind it.
        clusters: how many clusters they belong to.
    """

    value: float
    low: float
    high: float
    videos: int
    clusters: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no NaN."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        known = {name: None if math.isnan(each) else each for name, each in numbers.items()}
        return {**known, "videos": self.videos, "clusters": self.clusters}

    def __str__(self) -> str:
        """For people: ``"0.812 (0.790 to 0.833)"``."""
        if not self.videos:
            return "nothing was looked at"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Difference:
    """What one setting scores more than another, on the same prompts and seeds.

    Attributes:
        estimate: of first minus second.
        p: two-sided, that a difference this large comes by chance if there is none.
        alone: videos that only one of the two has; they have no part in it.
    """

    estimate: Estimate
    p: float
    alone: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.estimate.to_dict(), "p": self.p, "alone": self.alone}


@dataclass(frozen=True)
class _Stratum:
    """Sums and numbers of videos by cluster, ``[k]`` each."""

    sums: Floats
    counts: Floats


def estimate_mean(
    observations: Sequence[Observation], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A mean with a 95 % interval by cluster bootstrap.

    Args:
        observations: one a video.
        resamples: b.
        seed: of the resampling.

    Raises:
        ValueError: a value is not finite.
    """
    strata = _by_stratum(observations)
    clusters = sum(len(each.sums) for each in strata)
    if not strata:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    value = float(np.mean([each.sums.sum() / each.counts.sum() for each in strata]))
    freedom = clusters - len(strata)
    if freedom < 1:
        # One prompt a motion: nothing tells how much prompts differ.
        return Estimate(value, -math.inf, math.inf, len(observations), clusters)
    rng = np.random.default_rng(seed)
    means = np.mean([_resampled(each, resamples, rng) for each in strata], axis=0)
    tail = _widened_tail(clusters, freedom)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), len(observations), clusters)


def estimate_rate(
    observations: Sequence[Observation], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """As :func:`estimate_mean` for values 0 and 1; the interval stays inside 0..1.

    Where all videos agree, resampling finds no spread at all, and where nearly all do, too little.
    Then the interval is no narrower than Wilson's of as many videos as there are clusters.

    Raises:
        ValueError: a value is neither 0 nor 1.
    """
    if any(each.value not in (0.0, 1.0) for each in observations):
        raise ValueError("a rate is of values 0 and 1")
    found = estimate_mean(observations, resamples=resamples, seed=seed)
    if not observations:
        return found
    low, high = Share(round(found.value * found.clusters), found.clusters).interval()
    if found.value not in (0.0, 1.0) and not math.isinf(found.low):
        few = min(found.value, 1 - found.value) * found.clusters < FEW
        low, high = (min(low, found.low), max(high, found.high)) if few else (found.low, found.high)
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(found.value, low, high, found.videos, found.clusters)


def paired_difference(
    first: dict[Hashable, Observation],
    second: dict[Hashable, Observation],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare two settings video by video.

    The p value is of a randomization test: if the two settings were alike, the sign of every
    cluster's difference would be a coin's. With one video a cluster and values of 0 and 1, it is
    McNemar's exact test.

    Args:
        first: of one setting, by what makes two videos a pair: (motion, prompt, seed).
        second: of the other; cluster and stratum are taken from ``first``.
        resamples: of the interval.
        seed: of resampling and coins.

    Raises:
        ValueError: no video is in both.
    """
    both = [key for key in first if key in second]
    if not both:
        raise ValueError("the two settings have no video in common")
    pairs = [
        Observation(first[key].value - second[key].value, first[key].cluster, first[key].stratum)
        for key in both
    ]
    alone = len(first) + len(second) - 2 * len(both)
    found = estimate_mean(pairs, resamples=resamples, seed=seed)
    return Difference(found, _sign_flip_p(_by_stratum(pairs), seed), alone)


def _by_stratum(observations: Sequence[Observation]) -> list[_Stratum]:
    grouped: dict[Hashable, dict[Hashable, list[float]]] = {}
    for each in observations:
        if not math.isfinite(each.value):
            raise ValueError(f"a value is not finite: {each}")
        grouped.setdefault(each.stratum, {}).setdefault(each.cluster, []).append(each.value)
    return [
        _Stratum(
            np.array([sum(values) for values in clusters.values()]),
            np.array([float(len(values)) for values in clusters.values()]),
        )
        for clusters in grouped.values()
    ]


def _resampled(stratum: _Stratum, resamples: int, rng: np.random.Generator) -> Floats:
    """The stratum's mean in each resample, ``[b]``."""
    clusters = len(stratum.sums)
    # How often each cluster is drawn says all; it needs k numbers a resample, not k draws each.
    times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return (times @ stratum.sums) / (times @ stratum.counts)


def _widened_tail(clusters: int, freedom: int) -> float:
    """The share below the interval's lower end: 0.025 for many clusters, less for few."""
    reach = math.sqrt(clusters / freedom) * stats.t.ppf(0.975, freedom)
    return float(stats.norm.sf(reach))


def _sign_flip_p(strata: Sequence[_Stratum], seed: int) -> float:
    # Each cluster's share of the mean of its stratum.
    shares = np.concatenate([each.sums / each.counts.sum() for each in strata])
    shares = shares[shares != 0]
    if not len(shares):
        return 1.0
    limit = abs(shares.sum()) - CLOSE * np.abs(shares).sum()
    if len(shares) <= EXACT_CLUSTERS:
        bits = np.arange(2 ** len(shares))[:, None] >> np.arange(len(shares)) & 1
        return float((np.abs((1 - 2 * bits) @ shares) >= limit).mean())
    rng = np.random.default_rng(seed)
    signs = 1 - 2 * rng.integers(0, 2, size=(FLIPS, len(shares)))
    # What was observed is one of the possible outcomes: a p of zero cannot be.
    return (1 + int((np.abs(signs @ shares) >= limit).sum())) / (1 + FLIPS)
