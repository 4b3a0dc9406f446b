"""The host tier: deltas in CPU memory as they are stored, read once however many ask.

A delta that turns out broken, or made for another base, is remembered for a while, so that the next
who asks are refused at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError, PoolError
from motion_ray.serving.flights import SingleFlight
from motion_ray.serving.negative import NegativeCache
from motion_ray.serving.pinning import pinned
from motion_ray.serving.sources import DeltaSource
from motion_ray.serving.tier import Tier, TierStatistics
from motion_ray.store import DeltaRecord

log = logging.getLogger(__name__)


@contextlib.contextmanager
def naming(record: DeltaRecord) -> Iterator[None]:
    """Errors about a delta name the motion that was asked for: one would not know which of a mix.

    Raises:
        DeltaError: as inside.
    """
    try:
        yield
    except DeltaError as fault:
        raise type(fault)(f"motion {record.reference}", fault.rule, fault.fix) from fault


class HostTier:
    """Deltas in host memory; safe for threads.

    Deltas that are being read come on top of the budget, at most ``loads`` of them: one that turns
    out broken must not have driven out a good one. One that does not fit is used and not kept.

    Args:
        source: where deltas come from.
        fingerprint: of the base model that they must be made for.
        base: parameter name to the base model's own value.
        budget: bytes.
        loads: deltas read at the same time.
        broken: what is known to be broken.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: DeltaSource,
        fingerprint: str,
        base: Mapping[str, Tensor],
        *,
        budget: int,
        loads: int,
        broken: NegativeCache,
        clock: Callable[[], float],
    ) -> None:
        self._source, self._fingerprint, self._base = source, fingerprint, base
        self._broken, self._clock = broken, clock
        self._pinned = any(value.is_cuda for value in base.values())
        self._tier: Tier[MotionDelta] = Tier("host", budget)
        self._lock = threading.Lock()
        self._reading = threading.Semaphore(loads)
        self._flights: SingleFlight[tuple[MotionDelta, bool]] = SingleFlight()

    def __contains__(self, record: DeltaRecord) -> bool:
        with self._lock:
            return record.sha256 in self._tier

    @property
    def joined(self) -> int:
        """Times that somebody waited for a read of another one."""
        return self._flights.joined

    def statistics(self) -> TierStatistics:
        """Counts of this tier."""
        with self._lock:
            return self._tier.statistics()

    def residents(self) -> list[str]:
        """Content ids of what is here."""
        with self._lock:
            return list(self._tier)

    def pinned(self) -> list[str]:
        """Content ids of what is pinned here."""
        with self._lock:
            return self._tier.pinned()

    @contextlib.contextmanager
    def held(self, record: DeltaRecord, *, count: bool = True) -> Iterator[MotionDelta]:
        """A verified delta that fits the base; it stays while the context lives.

        Args:
            record: the version.
            count: as a hit or a miss; false for loading ahead.

        Raises:
            DeltaError: it is broken, made for another base, or does not fit it.
            UnknownMotionError: the version was withdrawn.
            StoreError: the store cannot be read.
        """
        with naming(record):
            delta, kept = self._hold(record, count)
        try:
            yield delta
        finally:
            if kept:
                with self._lock:
                    self._tier.release(record.sha256)

    def pin(self, record: DeltaRecord, pinned: bool) -> bool:
        """Let a delta that is here stay, or no longer; false if it is not here."""
        with self._lock:
            if record.sha256 not in self._tier:
                return False
            self._tier.pin(record.sha256, pinned)
            return True

    def drop(self, record: DeltaRecord) -> bool:
        """Take a delta out; false if it is in use."""
        with self._lock:
            self._tier.drop(record.sha256)
            return not self._tier.is_held(record.sha256)

    def clear(self) -> None:
        """Take everything out that is not in use."""
        with self._lock:
            for key in list(self._tier):
                self._tier.drop(key)

    def _hold(self, record: DeltaRecord, count: bool) -> tuple[MotionDelta, bool]:
        """A delta and whether the tier keeps it, then held."""
        with self._lock:
            delta = self._tier.hold(record.sha256, count=count)
        if delta is not None:
            return delta, True
        self._broken.check(record.sha256)
        (delta, kept), led = self._flights.run(record.sha256, lambda: self._read(record))
        if led:
            return delta, kept
        # Who waited got no hold. If the delta has left meanwhile, it is still good to be used.
        with self._lock:
            kept = self._tier.hold(record.sha256, count=False) is not None
        return delta, kept

    def _read(self, record: DeltaRecord) -> tuple[MotionDelta, bool]:
        with self._lock:
            delta = self._tier.hold(record.sha256, count=False)
        if delta is not None:  # another flight ended between our look and our start
            return delta, True
        with self._reading:
            started = self._clock()
            try:
                delta = self._verified(record)
            except DeltaError as fault:
                # Nothing else is about the content: a store may be out of reach, a name withdrawn
                # under which another one, or the next publication, has the same content.
                log.warning("%s cannot be used: %s", record.reference, fault)
                self._broken.add(record.sha256, fault)
                raise
            seconds = self._clock() - started
        with self._lock:
            try:
                self._tier.reserve(record.sha256, delta.nbytes)
            except PoolError as full:
                log.debug("used but not kept: %s", full)
                return delta, False
            self._tier.fill(record.sha256, delta, seconds)
        return delta, True

    def _verified(self, record: DeltaRecord) -> MotionDelta:
        delta = self._source.load(record)
        delta.check_base(self._fingerprint)
        delta.check_fits(self._base)
        if self._pinned:
            delta = MotionDelta(delta.header, pinned(delta.tensors), delta.digest)
        return delta
