"""The motions of one replica: ready for exchange, in host memory, or to be loaded.

A lease holds what one generation needs; what is held neither leaves nor changes. Values are keyed
by content, so a version published meanwhile is another entry, for the next lease that asks for it.
docs/serving.md has the picture. (On a CPU, host and device tier may share storage; both count it.)
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor, nn

from motion_ray.customization.places import own_values
from motion_ray.customization.swap import DeltaTarget, TokenRow, alone_on
from motion_ray.errors import MotionRayError, PoolBusyError, PoolError
from motion_ray.serving.abandon import unless
from motion_ray.serving.device import DeviceTier
from motion_ray.serving.host import HostTier
from motion_ray.serving.lease import LeasedMotion, MotionLease, Place
from motion_ray.serving.mix import Mix, Part
from motion_ray.serving.negative import NegativeCache
from motion_ray.serving.pool_config import PoolConfig
from motion_ray.serving.pool_statistics import PoolStatistics
from motion_ray.serving.sources import DeltaSource
from motion_ray.store import DeltaRecord
from motion_ray.threads import apart

log = logging.getLogger(__name__)

Level = Literal["device", "host"]
DEVICE: Level = "device"
HOST: Level = "host"


class MotionPool:
    """Byte-budgeted tiers with leases; safe for threads.

    Args:
        source: where deltas come from.
        backbone: the base model; nothing may be applied to it at this moment.
        config: budgets.
        clock: monotonic seconds; a load's duration is what loading it again would cost.

    Raises:
        DeltaError: a delta is applied to the base model.
    """

    def __init__(
        self,
        source: DeltaSource,
        backbone: DeltaTarget,
        config: PoolConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config or PoolConfig()
        self._backbone = backbone
        with alone_on(backbone.denoiser, "the motion pool", "the pool's view of the base"):
            self._parameters = dict(backbone.denoiser.named_parameters())
            base = own_values(backbone.denoiser)
        self._broken = NegativeCache(self._config.broken_s, clock)
        self._host = HostTier(
            source,
            backbone.fingerprint,
            base,
            budget=self._config.host_budget(),
            loads=self._config.loads,
            broken=self._broken,
            clock=clock,
        )
        self._device = DeviceTier(
            self._host,
            base,
            budget=self._config.device_budget(_device_of(self._parameters)),
            broken=self._broken,
            clock=clock,
        )
        self._mixing = threading.Lock()
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._exchanges, self._exchange_s = 0, 0.0
        self._waiting: set[tuple[str, Level]] = set()
        self._next = ""  # key of the mix that was last asked for ahead on the device
        # One each, so that what runs next does not wait for reads of what runs later.
        self._prefetchers: dict[Level, ThreadPoolExecutor] = {
            level: ThreadPoolExecutor(1, thread_name_prefix=f"prefetch-{level}")
            for level in (DEVICE, HOST)
        }

    # --- leases -----------------------------------------------------------------------------------

    def lease(
        self,
        mix: Mix,
        timeout: float | None = None,
        given_up: Callable[[], bool] | None = None,
    ) -> MotionLease:
        """Hold everything that a mix needs, loading what is not there.

        Args:
            mix: which motions, in exact versions.
            timeout: seconds to wait for others to give back what takes up the room; null waits as
                long as it takes.
            given_up: asked while something has to be loaded, whether that is for nobody any more.
                The load goes on, and what it gives stays here for the next who asks.

        Raises:
            Cancelled: it was given up.
            PoolBusyError: the time is over.
            PoolError: it can never fit into the budget; or the pool is closed.
            DeltaError: a motion is broken, or made for another base.
            StoreError: the store cannot be read.
        """
        if given_up is not None and any(each.found != "device" for each in self._places(mix)):
            # Threads cost OpenMP's time to wait actively, so only where there is a wait anyway.
            return unless(given_up, lambda: self.lease(mix, timeout), MotionLease.release)
        started = time.monotonic()
        while True:
            if self._closed:
                raise PoolError("the motion pool", "is closed")
            before = self._device.changes
            try:
                return self._try_lease(mix, started)
            except PoolBusyError:
                # Nothing is held at this point, so nobody waits for us.
                left = None if timeout is None else timeout - (time.monotonic() - started)
                if (left is not None and left <= 0) or not self._device.wait(before, left):
                    raise

    def _try_lease(self, mix: Mix, started: float, *, count: bool = True) -> MotionLease:
        motions = self._places(mix)
        held: list[str] = []
        try:
            values, rows = self._collect(mix, held, count)
        except BaseException:
            self._device.release(held)
            raise
        seconds = time.monotonic() - started
        give_back = functools.partial(self._device.release, held)
        return MotionLease(
            *(self._backbone, mix, motions, values, rows, seconds),
            parameters=self._parameters,
            give_back=give_back,
            tell=self._exchanged,
        )

    def _exchanged(self, seconds: float) -> None:
        with self._lock:
            self._exchanges += 1
            self._exchange_s += seconds

    def _places(self, mix: Mix) -> tuple[LeasedMotion, ...]:
        """Where a mix's motions are; of a sum that is ready, only what it borrows is needed."""
        ready = self._device.peek(mix)
        needed = {part.record.sha256 for part in mix.parts}
        if ready is not None:
            needed = {borrowed.record.sha256 for borrowed in ready.borrowed}
        return tuple(
            LeasedMotion(
                part.record,
                part.weight,
                self.place(part.record) if part.record.sha256 in needed else DEVICE,
            )
            for part in mix.parts
        )

    def _collect(
        self, mix: Mix, held: list[str], count: bool
    ) -> tuple[Mapping[str, Tensor], tuple[TokenRow, ...]]:
        """All values of a mix; the keys of what is held for them are appended to ``held``."""
        if not mix.parts:
            return {}, ()
        if mix.single is not None:
            prepared = self._device.hold(mix, count=count)
            held.append(mix.key)
            return prepared.values, prepared.rows
        # Two mixes that each hold what the other one lacks would both give up, again and again.
        with self._mixing:
            prepared = self._device.hold(mix, count=count)
            held.append(mix.key)
            self._device.check_together(mix, prepared)
            values = dict(prepared.values)
            for borrowed in prepared.borrowed:
                single = Mix((Part(borrowed.record, 1.0),))
                part = self._device.hold(single, count=count)
                held.append(single.key)
                values |= {name: part.values[name] for name in borrowed.names}
        return values, prepared.rows

    # --- without a lease --------------------------------------------------------------------------

    def place(self, record: DeltaRecord) -> Place:
        """Where a motion is: ``device``, ``host`` or still on ``disk``."""
        if record in self._device:
            return "device"
        return "host" if record in self._host else "disk"

    def residency(self) -> dict[str, Level]:
        """Content ids of motions (and keys of mixes) in memory, with the nearest place of each."""
        found: dict[str, Level] = dict.fromkeys(self._host.residents(), HOST)
        found.update(dict.fromkeys(self._device.residents(), DEVICE))
        return found

    def pinned(self) -> dict[str, Level]:
        """Content ids of motions that are pinned, with the nearest place of each."""
        found: dict[str, Level] = dict.fromkeys(self._host.pinned(), HOST)
        found.update(dict.fromkeys(self._device.pinned(), DEVICE))
        return found

    def prefetch(self, mix: Mix, level: Level = "host") -> bool:
        """Load ahead, in a thread of the pool's own, without holding anything afterwards.

        Failures are logged; whoever leases the mix meets them again.

        Args:
            mix: which motions.
            level: ``host`` is right for what waits in a queue; ``device`` only for what runs next,
                for it may drive out what is ready for others. Of several only the last is.

        Returns:
            Whether it was taken on; false if it waits already, or too many do.
        """
        task = (mix.key, level)
        with self._lock:
            if level == DEVICE:
                self._next = mix.key
            full = sum(each == level for _, each in self._waiting) >= self._config.prefetches
            if self._closed or full or not mix.parts or task in self._waiting:
                return False
            self._waiting.add(task)
            prefetcher = self._prefetchers[level]
            prefetcher.submit(apart, functools.partial(self._prefetch, mix, level))
        return True

    def _prefetch(self, mix: Mix, level: Level) -> None:
        try:
            if level == DEVICE:
                if mix.key == self._next:  # else something else runs next by now
                    self._try_lease(mix, time.monotonic(), count=False).release()
            else:
                for part in mix.parts:
                    with self._host.held(part.record, count=False):
                        log.debug("%s is in host memory", part.record.reference)
        except MotionRayError as fault:
            log.info("not prefetched: %s", fault)
        except Exception:  # a thread's exception would be lost
            log.exception("prefetching %s failed", mix.label)
        finally:
            with self._lock:
                self._waiting.discard((mix.key, level))

    def load(self, record: DeltaRecord, level: Level = "device") -> None:
        """Load a motion now, holding nothing afterwards.

        Raises:
            PoolError: it does not fit.
            DeltaError: it is broken.
            StoreError: the store cannot be read.
        """
        if level == "device":
            self._try_lease(Mix((Part(record, 1.0),)), time.monotonic(), count=False).release()
            return
        with self._host.held(record, count=False):
            if record not in self._host:
                rule = f"{record.reference} does not fit into it"
                raise PoolError("host tier", rule, "raise the budget, or unpin motions")

    def pin(self, record: DeltaRecord, level: Level = "device") -> None:
        """Load a motion and let it stay until :meth:`unpin`.

        Raises:
            PoolError: it does not fit, or the pins leave no room for it.
            DeltaError: it is broken.
            StoreError: the store cannot be read.
        """
        if level == "device":
            with self.lease(Mix((Part(record, 1.0),)), timeout=0):
                self._device.pin(record, True)
            return
        with self._host.held(record, count=False):
            if not self._host.pin(record, True):
                rule = f"{record.reference} does not fit into it"
                raise PoolError("host tier", rule, "raise the budget, or unpin motions")

    def unpin(self, record: DeltaRecord) -> None:
        """Let a motion leave again when room is needed; nothing happens if it is not pinned."""
        self._host.pin(record, False)
        self._device.pin(record, False)

    def unload(self, record: DeltaRecord, timeout: float | None = 0.0) -> bool:
        """Take a motion, and every sum that it is part of, out of memory; pins do not keep it.

        Args:
            record: the version.
            timeout: seconds to wait for leases to be given back; null waits as long as it takes.

        Returns:
            Whether all of it is gone; false if leases still hold some.
        """
        self._broken.forget(record.sha256)
        gone = self._device.drop(record, timeout)
        return self._host.drop(record) and gone

    def statistics(self) -> PoolStatistics:
        """The present counts."""
        return PoolStatistics(
            self._device.statistics(),
            self._host.statistics(),
            self._device.joined + self._host.joined,
            len(self._broken),
            self._broken.hits,
            self._device.blends,
            self._device.mix_hits,
            self._device.mix_misses,
            self._exchanges,
            self._exchange_s,
        )

    def close(self) -> None:
        """Stop prefetching and let go of everything that no lease holds."""
        with self._lock:
            self._closed = True
        for prefetcher in self._prefetchers.values():
            prefetcher.shutdown(wait=False, cancel_futures=True)
        for prefetcher in self._prefetchers.values():
            prefetcher.shutdown()
        self._device.clear()
        self._host.clear()


def _device_of(parameters: Mapping[str, nn.Parameter]) -> torch.device:
    """Where a base model is."""
    return next((each.device for each in parameters.values()), torch.device("cpu"))
