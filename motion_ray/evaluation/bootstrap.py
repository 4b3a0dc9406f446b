"""Intervals and paired tests for scores of videos whose prompts are alike.

Three videos of one prompt tell less than three prompts, and one prompt in five motions (the same
words, the same noise) less than five prompts. So prompts are what is resampled, with all their
videos of all motions (a cluster bootstrap). A score over several motions (strata) is the mean of
the motions' scores, however many videos each has. Motions are taken as given: an interval says what
other prompts would change, not what other motions would. Of few clusters a percentile interval is
too narrow, so its tails are widened as if it were Student's (T. Hesterberg, What Teachers Should
Know About the Bootstrap, 2015, section 5.3).

Shapes: s strata, k clusters, b resamples.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from motion_ray.evaluation.statistics import Share

RESAMPLES = 2000
FLIPS = 100_000  # a p of 0.005 varies by 0.0002 with the coins
FLIPS_AT_ONCE = 10_000
FEW = 5  # clusters that differ from the rest; of fewer, resampling underestimates the spread
EXACT_CLUSTERS = 20  # up to so many, all sign flips are tried instead of some
CLOSE = 1e-9  # of the largest possible sum: what differs by rounding alone counts as equal
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A number that was measured on one video.

    Attributes:
        value: for example 1.0 if the motion was recognised, 0.0 if not.
        cluster: what it shares with others, also of other strata: its prompt.
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
        low: of the interval; minus infinity where a stratum has one cluster only, which does not
            tell how much clusters differ.
        high: of the interval; infinity there.
        videos: how many numbers are behind it.
        clusters: how many clusters they belong to, counted in each stratum.
    """

    value: float
    low: float
    high: float
    videos: int
    clusters: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows neither NaN nor infinity."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        known = {name: each if math.isfinite(each) else None for name, each in numbers.items()}
        return {**known, "videos": self.videos, "clusters": self.clusters}

    def __str__(self) -> str:
        """For people: ``"0.812 (0.790 to 0.833)"``."""
        if not self.videos:
            return "nothing was looked at"
        if math.isinf(self.low):
            return f"{self.value:.3f} (no interval: too few prompts)"
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
class _Block:
    """Strata that share clusters, directly or through others: sums and numbers of videos by stratum
    and cluster, ``[s, k]`` each.
    """

    sums: Floats
    counts: Floats

    @property
    def means(self) -> Floats:
        """Of each stratum, ``[s]``."""
        return self.sums.sum(1) / self.counts.sum(1)

    def resampled(self, resamples: int, rng: np.random.Generator) -> Floats:
        """The strata's means in each resample, ``[b, s]``."""
        clusters = self.sums.shape[1]
        # How often each cluster is drawn says all; it needs k numbers a resample, not k draws each.
        times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
        sums, counts = times @ self.sums.T, times @ self.counts.T
        # Where none of a stratum's clusters was drawn, the resample says nothing about it.
        return np.where(counts > 0, sums / np.maximum(counts, 1), self.means)


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
    blocks = _blocks(observations)
    if not blocks:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    value = float(np.concatenate([each.means for each in blocks]).mean())
    of_strata = np.concatenate([(each.counts > 0).sum(1) for each in blocks])
    videos, cells = len(observations), int(of_strata.sum())
    if of_strata.min() < 2:
        return Estimate(value, -math.inf, math.inf, videos, cells)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([each.resampled(resamples, rng) for each in blocks], axis=1)
    clusters = sum(each.sums.shape[1] for each in blocks)
    tail = _widened_tail(clusters, clusters - len(blocks))
    low, high = np.quantile(drawn.mean(1), [tail, 1 - tail])
    return Estimate(value, float(low), float(high), videos, cells)


def estimate_rate(
    observations: Sequence[Observation], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """As :func:`estimate_mean` for values 0 and 1; the interval stays inside 0..1.

    Where all videos agree, resampling finds no spread at all, and where nearly all do, too little.
    Then the interval is no narrower than Wilson's of as many videos as there are clusters in all
    strata together.

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
    """Compare two settings video by video; the test is that of :func:`against_zero`.

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
    return against_zero(pairs, alone=alone, resamples=resamples, seed=seed)


def against_zero(
    differences: Sequence[Observation],
    *,
    alone: int = 0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Whether differences that were taken already are zero in the mean.

    The p value is of a randomization test: if differences were above zero as often as below, by the
    same amounts (as those of two settings that are alike), the sign of every cluster's would be a
    coin's. With one video a cluster and values of 0 and 1, it is McNemar's exact test.

    Args:
        differences: at least one.
        alone: to be told with the result.
        resamples: of the interval.
        seed: of resampling and coins.

    Raises:
        ValueError: a value is not finite.
    """
    found = estimate_mean(differences, resamples=resamples, seed=seed)
    return Difference(found, _sign_flip_p(_blocks(differences), seed), alone)


def _blocks(observations: Sequence[Observation]) -> list[_Block]:
    grouped: dict[Hashable, dict[Hashable, list[float]]] = {}
    for each in observations:
        if not math.isfinite(each.value):
            raise ValueError(f"a value is not finite: {each}")
        grouped.setdefault(each.stratum, {}).setdefault(each.cluster, []).append(each.value)
    blocks: list[list[dict[Hashable, list[float]]]] = []
    for stratum in grouped.values():
        near = [block for block in blocks if any(stratum.keys() & other for other in block)]
        blocks = [block for block in blocks if block not in near]
        blocks.append([*(other for block in near for other in block), stratum])
    return [_block(strata) for strata in blocks]


def _block(strata: Sequence[Mapping[Hashable, Sequence[float]]]) -> _Block:
    clusters = list(dict.fromkeys(cluster for stratum in strata for cluster in stratum))
    table = [[stratum.get(cluster, ()) for cluster in clusters] for stratum in strata]
    return _Block(
        np.array([[float(sum(values)) for values in row] for row in table]),
        np.array([[float(len(values)) for values in row] for row in table]),
    )


def _widened_tail(clusters: int, freedom: int) -> float:
    """The share below the interval's lower end: 0.025 for many clusters, less for few."""
    reach = math.sqrt(clusters / freedom) * stats.t.ppf(0.975, freedom)
    return float(stats.norm.sf(reach))


def _sign_flip_p(blocks: Sequence[_Block], seed: int) -> float:
    # Each cluster's share of the sum of the strata's means.
    shares = np.concatenate(
        [(each.sums / each.counts.sum(1, keepdims=True)).sum(0) for each in blocks]
    )
    total = np.abs(shares).sum()
    shares = shares[np.abs(shares) > CLOSE * total]
    if not len(shares):
        return 1.0
    limit = abs(shares.sum()) - CLOSE * total
    if len(shares) <= EXACT_CLUSTERS:
        # All sums of half the signs; the others are the same with the signs turned.
        sums = shares[:1]
        for share in shares[1:]:
            sums = np.concatenate([sums + share, sums - share])
        return float((np.abs(sums) >= limit).mean())
    rng, reached = np.random.default_rng(seed), 0
    for _ in range(FLIPS // FLIPS_AT_ONCE):
        signs = 1 - 2 * rng.integers(0, 2, size=(FLIPS_AT_ONCE, len(shares)))
        reached += int((np.abs(signs @ shares) >= limit).sum())
    # What was observed is one of the possible outcomes: a p of zero cannot be.
    return (1 + reached) / (1 + FLIPS)
