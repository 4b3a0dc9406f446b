"""The device tier: values ready for exchange, of single motions and of mixes.

The budget is exact: room is made before a value is put there, and only after everything about the
delta has been checked. Whoever finds no room can wait for a change.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import MotionRayError, PoolError
from motion_ray.serving.blending import Prepared, blend, plan_blend
from motion_ray.serving.flights import SingleFlight
from motion_ray.serving.host import HostTier, naming
from motion_ray.serving.mix import Mix
from motion_ray.serving.negative import NegativeCache
from motion_ray.serving.tier import Tier, TierStatistics
from motion_ray.store import DeltaRecord


class DeviceTier:
    """Prepared values in the base model's memory; safe for threads.

    Args:
        host: where deltas come from.
        base: parameter name to the base model's own value.
        budget: bytes.
        broken: what is known to be broken.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        host: HostTier,
        base: Mapping[str, Tensor],
        *,
        budget: int,
        broken: NegativeCache,
        clock: Callable[[], float],
    ) -> None:
        self._host, self._base, self._broken, self._clock = host, base, broken, clock
        self._tier: Tier[Prepared] = Tier("device", budget)
        self._flights: SingleFlight[Prepared] = SingleFlight()
        self._changed = threading.Condition()  # its lock guards the tier
        self._changes = 0
        gpu = next((each.device for each in base.values() if each.is_cuda), None)
        # Of a priority of its own: torch has 32 streams of the usual one and gives them in turn, so
        # ours would one day be the one on which a denoising step is being recorded.
        self._stream = None if gpu is None else torch.cuda.Stream(gpu, priority=-1)
        self._blends = self._mix_hits = self._mix_misses = 0

    def __contains__(self, record: DeltaRecord) -> bool:
        with self._changed:
            return record.sha256 in self._tier

    @property
    def changes(self) -> int:
        """How often room may have come up; see :meth:`wait`."""
        return self._changes

    @property
    def joined(self) -> int:
        """Times that somebody waited for a load of another one."""
        return self._flights.joined

    @property
    def blends(self) -> int:
        """Sums computed for mixes."""
        return self._blends

    @property
    def mix_hits(self) -> int:
        """Mixes found ready when asked for; among the hits of :meth:`statistics`."""
        return self._mix_hits

    @property
    def mix_misses(self) -> int:
        """Mixes not found ready when asked for; among the misses."""
        return self._mix_misses

    def statistics(self) -> TierStatistics:
        """Counts of this tier."""
        with self._changed:
            return self._tier.statistics()

    def residents(self) -> list[str]:
        """Content ids of motions, and keys of mixes, that are here."""
        with self._changed:
            return list(self._tier)

    def pinned(self) -> list[str]:
        """Content ids of motions that are pinned here."""
        with self._changed:
            return self._tier.pinned()

    def peek(self, mix: Mix) -> Prepared | None:
        """Values of a mix if they are here, without holding them."""
        with self._changed:
            return self._tier.peek(mix.key)

    # --- holding ----------------------------------------------------------------------------------

    def hold(self, mix: Mix, *, count: bool = True) -> Prepared:
        """Values of a mix, held until :meth:`release`; loaded if they are not here.

        Args:
            mix: at least one motion.
            count: as a hit or a miss; false for loading ahead.

        Raises:
            PoolBusyError: no room at this moment.
            PoolError: it can never fit.
            DeltaError: a motion is broken or does not fit the base.
            StoreError: the store cannot be read.
        """
        while True:
            with self._changed:
                prepared = self._tier.hold(mix.key, count=count)
                if count and mix.single is None:
                    self._mix_hits += prepared is not None
                    self._mix_misses += prepared is None
            if prepared is not None:
                return prepared
            prepared, led = self._flights.run(mix.key, functools.partial(self._load, mix, count))
            if led:
                return prepared
            count = False  # who waited got no hold and looks again

    def release(self, keys: Iterable[str]) -> None:
        """Give back one hold on each of these keys."""
        with self._changed:
            for key in keys:
                self._tier.release(key)
            self._announce()

    def check_together(self, mix: Mix, prepared: Prepared) -> None:
        """Refuse a mix whose own values and borrowed motions can never be here at once.

        Raises:
            PoolError: the budget, less what is pinned, is too small.
        """
        sizes = {borrowed.record.sha256: borrowed.nbytes for borrowed in prepared.borrowed}
        sizes[mix.key] = sum(value.nbytes for value in prepared.values.values())
        with self._changed:
            fit = self._tier.fit_together(sizes)
        if not fit:
            rule = f"the motions of {mix.label} do not fit into it together"
            raise PoolError("device tier", rule, "raise the budget, or unpin motions")

    def wait(self, since: int, seconds: float | None) -> bool:
        """Wait until :attr:`changes` is no longer ``since``; false if the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._changes != since, seconds)

    def pin(self, record: DeltaRecord, pinned: bool) -> None:
        """Let a motion that is here stay, or no longer; nothing happens if it is not here."""
        with self._changed:
            if record.sha256 in self._tier:
                self._tier.pin(record.sha256, pinned)
            self._announce()

    def drop(self, record: DeltaRecord, seconds: float | None) -> bool:
        """Take out a motion and every sum that it is part of, pinned or not.

        Args:
            record: the version.
            seconds: to wait for leases to be given back.

        Returns:
            Whether nothing of it is left.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._drop(record.sha256), seconds)

    def clear(self) -> None:
        """Take everything out that nobody holds."""
        with self._changed:
            for key in list(self._tier):
                self._tier.drop(key)
            self._announce()

    def _drop(self, sha256: str) -> bool:
        keys = [key for key in self._tier if sha256 in key]
        for key in keys:
            self._tier.drop(key)
        return not any(self._tier.is_held(key) for key in keys)

    def _announce(self) -> None:
        """Wake whoever waits; the lock is held."""
        self._changes += 1
        self._changed.notify_all()

    # --- loading ----------------------------------------------------------------------------------

    def _load(self, mix: Mix, count: bool) -> Prepared:
        with self._changed:
            prepared = self._tier.hold(mix.key, count=False)
        if prepared is not None:  # another flight ended between our look and our start
            return prepared
        for part in mix.parts:
            with naming(part.record):
                self._broken.check(part.record.sha256)
        started = self._clock()
        with contextlib.ExitStack() as stack:
            deltas = [
                stack.enter_context(self._host.held(part.record, count=count)) for part in mix.parts
            ]
            prepared = self._prepare(mix, deltas)
            with self._changed:
                self._tier.fill(mix.key, prepared, self._clock() - started)
        return prepared

    def _prepare(self, mix: Mix, deltas: list[MotionDelta]) -> Prepared:
        """Reserve the bytes that the values of a mix take, and make the values."""
        plan = None if mix.single is not None else plan_blend(mix.parts, deltas)
        names = deltas[0].parameters if plan is None else plan.summed
        with self._changed:
            # What has to leave is freed by this statement, before its room is used.
            self._tier.reserve(mix.key, sum(self._base[name].nbytes for name in names))
        try:
            with self._aside():
                if plan is None:
                    return Prepared(deltas[0].values(self._base), (), deltas[0].rows)
                self._blends += 1
                return blend(plan, mix.parts, deltas, self._base, mix.label)
        except BaseException as fault:
            with self._changed:
                self._tier.cancel(mix.key)
                self._announce()
            if isinstance(fault, MotionRayError) and mix.single is not None:
                self._broken.add(mix.key, fault)
            raise

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """On a GPU, do what is inside beside a generation and not after what that has started; it
        is done at the end.

        The memory of values belongs to this stream, which may fill it again as soon as nobody holds
        them: a lease has waited for whatever reads them by then.
        """
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()
