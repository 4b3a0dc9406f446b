"""What a pool of motions has counted: for metrics, and for who decides where a job goes."""

from __future__ import annotations

from dataclasses import dataclass

from motion_ray.serving.tier import TierStatistics


@dataclass(frozen=True)
class PoolStatistics:
    """Counts since the start, and the present state; loading ahead is no hit and no miss.

    Attributes:
        device: values ready for exchange, sums of mixes included.
        host: deltas as stored; asked only for what is not ready.
        joined: times that somebody waited for another one's load.
        broken: deltas known to be broken.
        refused: times that a delta was refused because it is known to be broken.
        blends: sums computed for mixes.
        mix_hits: mixes that were ready as entries of their own when asked for.
        mix_misses: mixes that were not.
        exchanges: times that motions were put in the base's place, and taken out again.
        exchange_s: seconds spent on that, without what ran meanwhile.
    """

    device: TierStatistics
    host: TierStatistics
    joined: int
    broken: int
    refused: int
    blends: int
    mix_hits: int
    mix_misses: int
    exchanges: int
    exchange_s: float
