"""One replica in this process: the whole server without Ray, for a laptop and for tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence

from starlette.concurrency import run_in_threadpool

from motion_ray.errors import JobStoreError, MotionRayError, OverloadedError
from motion_ray.serving.http.ports import ReplicaState
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Job
from motion_ray.serving.logs import about
from motion_ray.serving.pool import Level, MotionPool
from motion_ray.serving.replica import Replica
from motion_ray.serving.results import ResultFolder, tidy
from motion_ray.store import DeltaRecord
from motion_ray.threads import apart_from_loop

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
            among them is decided there.
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
        warm_up: Callable[[], None],
        *,
        tick_s: float = 2.0,
        grace_s: float = 5.0,
    ) -> None:
        self._name, self._replica, self._pool = name, replica, pool
        self._jobs, self._results, self._warm_up = jobs, results, warm_up
        self._tick_s, self._grace_s = tick_s, grace_s
        self._ready = False
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See :class:`Backend`."""
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
        await asyncio.sleep(seconds)

    async def replicas(self) -> Sequence[ReplicaState]:
        """See :class:`Backend`."""
        return [await run_in_threadpool(self._state)]

    async def load(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(self._pool.load, record, level)

    async def unload(self, record: DeltaRecord, wait_s: float) -> bool:
        """See :class:`Backend`."""
        return await run_in_threadpool(self._pool.unload, record, wait_s)

    async def pin(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(self._pool.pin, record, level)

    async def unpin(self, record: DeltaRecord) -> None:
        """See :class:`Backend`."""
        await run_in_threadpool(self._pool.unpin, record)

    def _state(self) -> ReplicaState:
        queued, wait_s = self._replica.load()
        return ReplicaState(
            name=self._name,
            ready=self._ready,
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
            try:
                await run_in_threadpool(self._round)
            except JobStoreError as fault:
                log.warning("jobs cannot be handed out at the moment: %s", fault)
            except Exception:  # the jobs after this one must not suffer from it
                log.exception("a round of handing out jobs failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s):
                    await wake.wait()

    def _round(self) -> None:
        """See to what went wrong, and give what is queued in the store to the replica."""
        for job in tidy(self._jobs, self._results):
            with about(job=job.id):
                log.info("%s is %s again", job.id, job.state)
        here = self._replica.jobs()
        for job in self._jobs.queued(MOST_QUEUED):
            if job.id in here:
                continue
            with about(job=job.id):
                try:
                    self._replica.submit(job)
                except OverloadedError:
                    return  # the next round finds it in the store
                except MotionRayError as fault:
                    log.info("%s is refused: %s", job.id, fault)
