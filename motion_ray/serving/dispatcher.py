"""The router's side of serving: hands jobs to replicas, wherever these run.

:class:`Dispatcher` is a :class:`motion_ray.serving.http.ports.Backend` for any number of replicas.
It is pull-based: replicas report to :meth:`Dispatcher.exchange`, where they wait a moment, and
the answer holds their orders. So it needs no addresses, and a replica is there as soon as it
reports and lost when it does not. Everything runs in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from motion_ray.errors import (
    BrokenRefError,
    MotionRayError,
    PoolBusyError,
    StoreError,
    UnknownMotionError,
)
from motion_ray.serving.api_errors import job_failure
from motion_ray.serving.fleet import Fleet, Member
from motion_ray.serving.http.ports import ReplicaState
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Job
from motion_ray.serving.logs import about
from motion_ray.serving.orders import Hold, Order, Orders, Outcome, Report, Unload, Unpin
from motion_ray.serving.pins import Pin, PinFile
from motion_ray.serving.pool import Level
from motion_ray.serving.results import SWEEP_S, ResultFolder, sweep, tidy
from motion_ray.serving.settling import Settling
from motion_ray.store import DeltaRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often things happen, in seconds.

    Attributes:
        poll_s: a replica that has no orders gets its answer after so long.
        silent_s: a replica that has not reported for so long is lost.
        tidy_s: between two looks at the whole store.
        load_s: for a replica to load a motion when it is told to.
    """

    poll_s: float = 1.0
    silent_s: float = 5.0
    tidy_s: float = 3.0
    load_s: float = 120.0


class Dispatcher:
    """See the top of this file, and the protocol for what the methods do.

    Args:
        jobs: the store.
        results: its videos.
        pins: motions that are to stay in memory.
        pace: how often things happen.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: JobStore,
        results: ResultFolder,
        pins: PinFile,
        pace: Pace | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs, self._results, self._pins = jobs, results, pins
        self._pace, self._clock = pace or Pace(), clock
        self._fleet = Fleet(secrets.token_hex(8), self._pace.silent_s)
        self._answers: dict[str, asyncio.Event] = {}  # of the poll that each replica waits in
        self._outcomes: dict[int, tuple[str, asyncio.Future[Outcome]]] = {}
        self._tried: dict[tuple[str, str], int] = {}  # orders of pins by (replica, content id)
        self._settling = Settling()
        self._sweep_due = float("-inf")
        self._look = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See the protocol."""
        self._loop = asyncio.create_task(self._tidy_for_ever())

    async def close(self) -> None:
        """See the protocol; replicas give their own jobs back when they are closed."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        for answer in self._answers.values():
            answer.set()

    def check(self) -> None:
        """Whether it still works.

        Raises:
            RuntimeError: it does not.
        """
        if self._loop is not None and self._loop.done():
            raise RuntimeError("the dispatcher's loop has ended")

    async def _tidy_for_ever(self) -> None:
        while True:
            self._look.clear()
            try:
                await self._tidy()
            except Exception:  # the store may be busy or the disk full: the next look may succeed
                log.exception("the store could not be looked through")
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes as it ends.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.tidy_s):
                    await self._look.wait()

    async def _tidy(self) -> None:
        for name in self._fleet.lose(self._clock()):
            log.warning("replica %s is lost", name)
            self._forget(name)
        for job in await asyncio.to_thread(tidy, self._jobs, self._results):
            with about(job=job.id):
                log.info("%s is %s again", job.id, job.state)
        mark = self._fleet.mark()
        queued = await asyncio.to_thread(self._jobs.queued, 1_000_000, due=True)
        refused = self._fleet.match(queued, mark)
        self._uphold_pins()
        self._place()
        for job, fault in refused.items():
            with about(job=job):
                log.warning("%s is refused: %s", job, fault)
            await asyncio.to_thread(self._jobs.reject, job, job_failure(fault))
        if self._clock() >= self._sweep_due:
            self._sweep_due = self._clock() + SWEEP_S
            await asyncio.to_thread(sweep, self._jobs, self._results)

    # --- replicas ---------------------------------------------------------------------------------

    async def exchange(self, report: Report) -> Orders:
        """A replica reports and gets its orders, at once or as soon as there are any.

        It may report anew meanwhile; the answer to its earlier report then comes at once.
        """
        new = report.replica not in {member.report.replica for member in self._fleet.members}
        heard = self._fleet.hear(report, self._clock())
        for outcome in heard.outcomes:
            _, waiting = self._outcomes.pop(outcome.number, ("", None))
            if waiting is not None and not waiting.done():
                waiting.set_result(outcome)
            elif outcome.fault is not None:
                self._missed(report.replica, outcome.number, outcome.fault)
        self._settling.wake(heard.left)
        if new:
            log.info("replica %s reports", report.replica)
            self._uphold_pins()
        earlier = self._answers.get(report.replica)
        if earlier is not None:
            earlier.set()
        answer = self._answers[report.replica] = asyncio.Event()
        self._place()
        if not self._fleet.orders(report.replica, report).numbered:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.poll_s):
                    await answer.wait()
        if self._answers.get(report.replica) is answer:
            del self._answers[report.replica]
        return self._fleet.orders(report.replica, report)

    async def leave(self, replica: str) -> None:
        """A replica has been closed, and has given its jobs back to the store."""
        log.info("replica %s leaves", replica)
        self._fleet.leave(replica)
        self._forget(replica)
        self._look.set()

    def _forget(self, replica: str) -> None:
        self._tried = {pair: order for pair, order in self._tried.items() if pair[0] != replica}
        for asked, waiting in self._outcomes.values():
            if asked == replica:
                waiting.cancel()
        answer = self._answers.pop(replica, None)
        if answer is not None:
            answer.set()

    async def replicas(self) -> Sequence[ReplicaState]:
        """See the protocol."""
        return [_state(member) for member in self._fleet.members]

    @property
    def waiting(self) -> int:
        """Jobs that no replica has room for."""
        return self._fleet.waiting

    # --- jobs -------------------------------------------------------------------------------------

    async def dispatch(self, job: Job) -> None:
        """See the protocol."""
        self._fleet.offer(job)
        self._place()

    async def cancel(self, job: str) -> None:
        """See the protocol."""
        replica = self._fleet.cancel(job)
        if replica is not None:
            self._wake(replica)

    async def settled(self, job: str, seconds: float) -> None:
        """See the protocol: woken by the report of the replica in which the job ended."""
        await self._settling.wait(job, seconds)

    def _place(self) -> None:
        for replica in self._fleet.place():
            self._wake(replica)

    def _wake(self, replica: str) -> None:
        answer = self._answers.get(replica)
        if answer is not None:
            answer.set()

    # --- motions ----------------------------------------------------------------------------------

    async def load(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See the protocol."""
        await self._hold(record, level, replicas, pinned=False)

    async def pin(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See the protocol."""
        await self._hold(record, level, replicas, pinned=True)
        pin = Pin(record=record, level=level, replicas=max(1, replicas))
        await asyncio.to_thread(self._pins.put, pin)

    async def unpin(self, record: DeltaRecord) -> None:
        """See the protocol."""
        await asyncio.to_thread(self._pins.remove, record)
        await self._ask([m.report.replica for m in self._fleet.members], Unpin(record), 0.0)

    async def unload(self, record: DeltaRecord, wait_s: float) -> bool:
        """See the protocol."""
        await asyncio.to_thread(self._pins.remove, record)
        names = [member.report.replica for member in self._fleet.members]
        outcomes = await self._ask(names, Unload(record, wait_s), wait_s)
        # One that has left meanwhile took the motion with it; one that is late may have it still.
        there = {member.report.replica for member in self._fleet.members}
        return all(
            name not in there if outcome is None else outcome.done
            for name, outcome in zip(names, outcomes, strict=True)
        )

    async def _hold(
        self, record: DeltaRecord, level: Level, replicas: int, *, pinned: bool
    ) -> None:
        names = self._nearest(record, replicas)
        if not names:
            raise PoolBusyError("the replicas", "none is ready yet", "ask again later")
        for outcome in await self._ask(names, Hold(record, level, pinned), 0.0):
            if outcome is None:
                raise PoolBusyError(record.reference, "a replica did not answer", "ask again later")
            if outcome.fault is not None:
                raise outcome.fault

    def _nearest(self, record: DeltaRecord, replicas: int) -> list[str]:
        """So many replicas for a motion: those that have it first, then those that are idle."""
        ready = [member for member in self._fleet.members if member.report.ready]
        wanted = frozenset({record.sha256})
        ready.sort(key=lambda m: (record.sha256 not in m.report.pinned, m.start_s(wanted)))
        return [member.report.replica for member in ready[: max(1, replicas)]]

    async def _ask(
        self, replicas: Sequence[str], order: Order, extra_s: float
    ) -> list[Outcome | None]:
        """What became of an order in each of these replicas; null: it was lost, or is late."""
        asked: dict[int, asyncio.Future[Outcome]] = {}
        for replica in replicas:
            number = self._fleet.order(replica, order)
            asked[number] = asyncio.get_running_loop().create_future()
            self._outcomes[number] = (replica, asked[number])
            self._wake(replica)
        if asked:
            await asyncio.wait(asked.values(), timeout=self._pace.load_s + extra_s)
        for number in asked:
            self._outcomes.pop(number, None)
        told = [each.done() and not each.cancelled() for each in asked.values()]
        return [
            each.result() if known else None
            for each, known in zip(asked.values(), told, strict=True)
        ]

    def _uphold_pins(self) -> None:
        """Have pinned motions in as many replicas as they should be in, after some came or went."""
        for pin in self._pins.pins:
            sha256 = pin.record.sha256
            for replica in self._nearest(pin.record, pin.replicas):
                member = next(m for m in self._fleet.members if m.report.replica == replica)
                ordered = any(
                    isinstance(order, Hold) and order.record.sha256 == sha256
                    for order in member.outbox.values()
                )
                if sha256 in member.report.pinned or ordered or (replica, sha256) in self._tried:
                    continue
                # Once: what does not fit would be tried for ever.
                order = Hold(pin.record, pin.level, True)
                self._tried[replica, sha256] = self._fleet.order(replica, order)
                self._wake(replica)

    def _missed(self, replica: str, number: int, fault: MotionRayError) -> None:
        """An order that nobody waits for failed: a pin that may do better is ordered again."""
        log.warning("replica %s could not follow an order about a motion: %s", replica, fault)
        if isinstance(fault, UnknownMotionError | BrokenRefError) or not isinstance(
            fault, (PoolBusyError, StoreError)
        ):
            return
        self._tried = {pair: order for pair, order in self._tried.items() if order != number}


def _state(member: Member) -> ReplicaState:
    report = member.report
    return ReplicaState(
        name=report.replica,
        ready=report.ready,
        queued=report.queued,
        wait_s=report.wait_s,
        residency=report.residency,
        pinned=report.pinned,
        pool=report.pool,
    )
