"""One replica in this process: the whole server without Ray, for a laptop and for tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence

from starlette.concurrency import run_in_threadpool

from motion_ray.errors import JobStoreError, MotionRayError, OverloadedError
from motion_ray.serving.http.ports import ReplicaState
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Job
from motion_ray.serving.logs import about
from motion_ray.serving.pool import Level, MotionPool
from motion_ray.serving.replica import Replica
from motion_ray.serving.results import SWEEP_S, ResultFolder, sweep, tidy
from motion_ray.serving.settling import Settling
from motion_ray.store import DeltaRecord
from motion_ray.threads import apart, apart_from_loop

log = logging.getLogger(__name__)

MOST_QUEUED = 100_000  # jobs that one look at the store is about


def fresh_name() -> str:
    """A name for a replica that no earlier one had, so that an old claim is never taken for its."""
    return f"local-{secrets.token_hex(4)}"


class LocalBackend:
    """See :class:`motion_ray.serving.http.ports.Backend` for what each method does.

    Args:
        name: of the replica.
        replica: runs the jobs; its queue should take as many as the job store does, for the order
            among them is decided there. It is to call :meth:`ended`.
        pool: of the replica.
        jobs: the store.
        results: videos.
        warm_up: makes a first video, so that the first client does not wait for what happens once.
        tick_s: between two looks for jobs that nobody told of, and two rounds of tidying.
        grace_s: for which a running job may go on when the server closes.
    """

    def __init__(
        self,
        name: str,
        replica: Replica,
        pool: MotionPool,
        jobs: JobStore,
        results: ResultFolder,
        warm_up: Callable[[], object],
        *,
        tick_s: float = 2.0,
        grace_s: float = 5.0,
    ) -> None:
        self._name, self._replica, self._pool = name, replica, pool
        self._jobs, self._results, self._warm_up = jobs, results, warm_up
        self._tick_s, self._grace_s = tick_s, grace_s
        self._ready = self._sick = False
        self._settling = Settling()
        self._due = self._sweep_due = 0.0  # the next tidying, and the next sweep; monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See :class:`Backend`."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(self._wake))

    async def close(self) -> None:
        """See :class:`Backend`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._ready = False
        await run_in_threadpool(self._replica.close, self._grace_s)
        self._loop = None
        await run_in_threadpool(self._pool.close)

    async def dispatch(self, job: Job) -> None:
        """See :class:`Backend`."""
        if self._wake is not None:
            self._wake.set()

    async def cancel(self, job: str) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(self._replica.cancel, job)

    async def settled(self, job: str, seconds: float) -> None:
        """See :class:`Backend`."""
        await self._settling.wait(job, seconds)

    def ended(self) -> None:
        """A job has ended in the replica; from any thread."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._settling.wake(self._settling.jobs - self._replica.jobs())

    async def replicas(self) -> Sequence[ReplicaState]:
        """See :class:`Backend`."""
        return [await run_in_threadpool(self._state)]

    async def load(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See :class:`Backend`."""
        # Reading and checking compute: in a thread that ends (motion_ray.threads).
        await run_in_threadpool(apart, lambda: self._pool.load(record, level))

    async def unload(self, record: DeltaRecord, wait_s: float) -> bool:
        """See :class:`Backend`."""
        return await run_in_threadpool(self._pool.unload, record, wait_s)

    async def pin(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(apart, lambda: self._pool.pin(record, level))

    async def unpin(self, record: DeltaRecord) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(self._pool.unpin, record)

    def _state(self) -> ReplicaState:
        queued, wait_s = self._replica.load()
        return ReplicaState(
            name=self._name,
            ready=self._ready and not self._replica.sick,
            queued=queued,
            wait_s=wait_s,
            residency=self._pool.residency(),
            pinned=self._pool.pinned(),
            pool=self._pool.statistics(),
        )

    # --- handing out ------------------------------------------------------------------------------

    async def _run(self, wake: asyncio.Event) -> None:
        try:
            await apart_from_loop(self._warm_up)
        except Exception:  # a task's exception would be lost; the server stays up and not ready
            log.exception("the base model cannot generate")
            return
        self._ready = True
        while True:
            wake.clear()
            await self._round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due - time.monotonic())):
                    await wake.wait()

    async def _round(self) -> None:
        """Hand out what is queued; when it is time, see to what went wrong before."""
        now = time.monotonic()
        work = [("handed out", self._hand_out)]
        if now >= self._due:
            self._due = now + self._tick_s
            work.insert(0, ("seen to", self._tidy))
        if now >= self._sweep_due:
            self._sweep_due = now + SWEEP_S
            work.append(("swept", lambda: sweep(self._jobs, self._results)))
        for what, act in work:
            try:
                await run_in_threadpool(act)
            except JobStoreError as fault:
                log.warning("jobs cannot be %s at the moment: %s", what, fault)
            except Exception:  # the jobs after this one must not suffer from it
                log.exception("jobs could not be %s", what)

    def _tidy(self) -> None:
        for job in tidy(self._jobs, self._results):
            with about(job=job.id):
                log.info("%s is %s again", job.id, job.state)

    def _hand_out(self) -> None:
        """Give what is queued in the store to the replica, as long as that can run anything."""
        if self._replica.sick:
            if not self._sick:
                log.error("the replica is sick and runs nothing more: start the server again")
            self._sick = True
            return
        here = self._replica.jobs()
        for job in self._jobs.queued(MOST_QUEUED, due=True):
            if job.id in here:
                continue
            with about(job=job.id):
                try:
                    self._replica.submit(job)
                except OverloadedError:
                    return  # the next round finds it in the store
                except JobStoreError:
                    raise  # it would be the same with the others
                except MotionRayError as fault:
                    log.info("%s is refused: %s", job.id, fault)
                except Exception:  # the jobs behind this one must not suffer from it
                    log.exception("%s could not be handed out", job.id)
