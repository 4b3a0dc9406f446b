"""Counters of serving in Ray's metrics, which Prometheus collects from each node.

Names of motions are labels for the first :data:`MOST_MOTIONS` of a process only: each label value
is a time series of its own, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ray.util.metrics import Counter, Gauge, Histogram

from motion_ray.serving.http.ports import ReplicaState
from motion_ray.serving.jobs import Job
from motion_ray.serving.pool_statistics import PoolStatistics
from motion_ray.serving.requests import GenerationSpec

MOST_MOTIONS = 100
OTHERS = "others"
BOUNDARIES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]  # seconds

#: Counts of a tier that only grow.
GROWING = ("hits", "misses", "loads", "evictions", "seconds")


class ReplicaMetrics:
    """What one replica counts: :class:`motion_ray.serving.replica.Watch`, and its pool.

    Args:
        replica: label of everything.
    """

    def __init__(self, replica: str) -> None:
        tags = {"replica": replica}
        self._jobs = _counter("jobs", "jobs that left a replica", ("outcome",), tags)
        self._motions = _counter("motion_jobs", "jobs that used a motion", ("motion",), tags)
        self._frames = _counter("frames", "frames of finished videos", (), tags)
        self._steps = _counter("steps", "denoising steps of finished videos", (), tags)
        self._stages = Histogram(
            "motion_ray_stage_seconds",
            "seconds of finished jobs: queue, load, denoise, decode, encode",
            boundaries=BOUNDARIES,
            tag_keys=("stage", "replica"),
        )
        self._stages.set_default_tags(tags)
        self._bytes = _gauge("pool_bytes", "bytes in use", ("tier",), tags)
        self._budget = _gauge("pool_budget_bytes", "bytes that may be used", ("tier",), tags)
        self._entries = _gauge("pool_entries", "motions and mixes", ("tier",), tags)
        self._tiers = {
            name: _counter(f"pool_{name}", f"{name} of a tier of the pool", ("tier",), tags)
            for name in GROWING
        }
        self._blends = _counter("pool_blends", "sums computed for mixes", (), tags)
        self._mixes = {
            name: _counter(f"pool_mix_{name}", f"{name} of mixes ready as entries", (), tags)
            for name in ("hits", "misses")
        }
        self._exchanges = _counter("pool_exchanges", "motions put into the base", (), tags)
        self._exchange_s = _counter("pool_exchange_seconds", "there and back", (), tags)
        self._broken = _gauge("pool_broken", "motions known to be broken", (), tags)
        self._before: dict[tuple[str, str], float] = {}
        self._known: set[str] = set()

    def ended(self, job: Job, outcome: str, timings: Mapping[str, float]) -> None:
        """See :class:`motion_ray.serving.replica.Watch`."""
        self._jobs.inc(tags={"outcome": outcome})
        spec = GenerationSpec.model_validate(job.request)
        for motion in spec.motions:
            self._motions.inc(tags={"motion": self._label(motion.id)})
        for stage, seconds in timings.items():
            self._stages.observe(seconds, tags={"stage": stage})
        if outcome == "succeeded":
            self._frames.inc(spec.frames)
            self._steps.inc(spec.steps)

    def pool(self, found: PoolStatistics) -> None:
        """The pool's counts at this moment."""
        for tier, counts in (("device", found.device), ("host", found.host)):
            self._bytes.set(counts.used, tags={"tier": tier})
            self._budget.set(counts.budget, tags={"tier": tier})
            self._entries.set(counts.entries, tags={"tier": tier})
            growing = (
                counts.hits,
                counts.misses,
                counts.loads,
                counts.evictions,
                counts.seconds,
            )
            for name, value in zip(GROWING, growing, strict=True):
                self._grow(self._tiers[name], name, value, tier)
        for counter, name, value in (
            (self._blends, "blends", found.blends),
            (self._mixes["hits"], "mix_hits", found.mix_hits),
            (self._mixes["misses"], "mix_misses", found.mix_misses),
            (self._exchanges, "exchanges", found.exchanges),
            (self._exchange_s, "exchange_seconds", found.exchange_s),
        ):
            self._grow(counter, name, value, "")
        self._broken.set(found.broken)

    def _grow(self, counter: Counter, name: str, value: float, tier: str) -> None:
        """Bring a counter to a value that is counted elsewhere."""
        more = value - self._before.get((name, tier), 0.0)
        if more > 0:  # a counter refuses 0
            counter.inc(more, tags={"tier": tier} if tier else {})
            self._before[name, tier] = value

    def _label(self, motion: str) -> str:
        if motion not in self._known and len(self._known) >= MOST_MOTIONS:
            return OTHERS
        self._known.add(motion)
        return motion


class RouterMetrics:
    """What the router counts: :class:`motion_ray.serving.http.ports.RequestWatch`, and replicas."""

    def __init__(self) -> None:
        self._waiting = _gauge("waiting_jobs", "jobs that no replica has room for", (), {})
        self._queued = _gauge("replica_queued_jobs", "jobs that wait in a replica", ("to",), {})
        self._wait_s = _gauge("replica_wait_seconds", "until a new job would start", ("to",), {})
        self._ready = _gauge("ready_replicas", "replicas that take jobs", (), {})
        keys = ("status", "code")
        self._errors = _counter("request_errors", "requests answered with an error", keys, {})
        self._cancelled = _counter("queued_jobs_cancelled", "cancelled while they waited", (), {})

    def refused(self, status: int, code: str) -> None:
        """See :class:`motion_ray.serving.http.ports.RequestWatch`."""
        self._errors.inc(tags={"status": str(status), "code": code})

    def cancelled(self) -> None:
        """See :class:`motion_ray.serving.http.ports.RequestWatch`."""
        self._cancelled.inc()

    def look(self, replicas: Sequence[ReplicaState], waiting: int) -> None:
        """How things are at this moment."""
        self._waiting.set(waiting)
        self._ready.set(sum(replica.ready for replica in replicas))
        for replica in replicas:
            self._queued.set(replica.queued, tags={"to": replica.name})
            self._wait_s.set(replica.wait_s, tags={"to": replica.name})


def _counter(name: str, what: str, keys: tuple[str, ...], tags: dict[str, str]) -> Counter:
    counter = Counter(f"motion_ray_{name}_total", what, tag_keys=(*keys, *tags))
    counter.set_default_tags(tags)
    return counter


def _gauge(name: str, what: str, keys: tuple[str, ...], tags: dict[str, str]) -> Gauge:
    gauge = Gauge(f"motion_ray_{name}", what, tag_keys=(*keys, *tags))
    gauge.set_default_tags(tags)
    return gauge
