"""A replica: takes jobs from the store, runs them one at a time, writes their videos meanwhile.

It may be killed at any moment. Until a job is started here it is queued in the store, where others
find it; once it is started, others find it when the claim runs out; its video belongs to it only
when the store has said so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.errors import (
    BaseModelError,
    BrokenRefError,
    Cancelled,
    ConfigError,
    DeltaError,
    GpuMemoryError,
    JobDatabaseError,
    MotionRayError,
    NonFiniteVideoError,
    PoolBusyError,
    PoolError,
    RequestError,
    StoreError,
    UnknownMotionError,
)
from motion_ray.serving.api_errors import job_failure
from motion_ray.serving.engine import Engine, Generation
from motion_ray.serving.heart import Heart
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import DEADLINE_EXCEEDED, Job, JobFailure
from motion_ray.serving.mix import Mix
from motion_ray.serving.requests import GenerationSpec
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.scheduler import Cancelling, Scheduler, Stop, Ticket
from motion_ray.serving.worker import Ending, StopCheck, Worker
from motion_ray.types import GeneratedVideo

log = logging.getLogger(__name__)

ATTEMPTS = 3  # at a job whose fault may pass
AWAY_ATTEMPTS = 12  # at one that needs a store or a database that is away: about nine minutes
GROWTH = 4.0  # of the pause between them
LONGEST_PAUSE_S = 60.0
SICK = 3  # jobs in a row

WriteVideo = Callable[[Path, GeneratedVideo], None]
"""Writes a video to a file, all or nothing."""


#: What a motion or a request lacks stays as it is, however often the job is tried.
FINAL = (
    RequestError,
    DeltaError,
    UnknownMotionError,
    BrokenRefError,
    PoolError,
    ConfigError,  # a size that the decoder cannot make
    BaseModelError,  # a token that the base's tokenizer does not know
    NonFiniteVideoError,
)
#: Passes too, but says nothing about this process: another one would meet it as well.
ELSEWHERE = (StoreError, JobDatabaseError, PoolBusyError, GpuMemoryError)
#: And outlasts a few attempts: a service is started again, a disk is mounted.
AWAY = (StoreError, JobDatabaseError)


def _may_pass(fault: Exception) -> bool:
    """Whether the job may do better another time: a disk that is full, a store that is not reached,
    a mistake of ours or of the machine's.
    """
    return isinstance(fault, PoolBusyError) or not isinstance(fault, FINAL)


class ReplicaConfig(BaseModel):
    """How a replica works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: int = Field(default=8, ge=1, description="jobs that may wait in this replica")
    patience_s: float = Field(
        default=10.0, ge=0, description="longest wait for the sake of grouping by motion"
    )
    lease_s: float = Field(
        default=15.0, gt=0, description="a replica that is silent for longer has lost its job"
    )
    stall_s: float = Field(
        default=600.0,
        gt=0,
        description="a job that shows no progress (a step, a stage) for longer hangs: it is left "
        "to others, and this replica to whoever restarts it",
    )
    retry_s: float = Field(
        default=2.0,
        ge=0,
        description="pause after a first fault that may pass; then four times it, to a minute",
    )


class Watch(Protocol):
    """Somebody who counts; told of one job at a time, and not to raise."""

    def ended(self, job: Job, outcome: str, timings: Mapping[str, float]) -> None:
        """A job has left the replica.

        Args:
            job: as it was when it started.
            outcome: ``succeeded``, ``failed``, ``cancelled``, ``given_back`` to the store, or
                ``lost`` because the claim ran out.
            timings: seconds by stage, of a job that succeeded.
        """
        ...


class Replica:
    """See the top of this file. Safe for threads.

    Args:
        name: in the store; unique among replicas and restarts.
        engine: makes videos.
        store: of jobs.
        results: where videos are kept.
        write: writes a video, e.g. by :func:`motion_ray.data.video.write_video`.
        config: limits.
        watch: told how jobs end.
        ended: called, in a thread of the replica's, when a job has ended and is no longer here, and
            when the device is free.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        store: JobStore,
        results: ResultFolder,
        write: WriteVideo,
        config: ReplicaConfig | None = None,
        ended: Callable[[], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._name, self._engine, self._store = name, engine, store
        self._results, self._write = results, write
        self._config, self._watch = config or ReplicaConfig(), watch
        self._lock = threading.Lock()
        self._mixes: dict[str, Mix] = {}
        # Jobs with mistakes since the last video that was made, and that was written. Apart: one
        # may be written after the mistakes of later ones, for which it does not make up.
        self._unmade: set[str] = set()
        self._unwritten: set[str] = set()
        self._sick = False
        self._telling = threading.Lock()
        scheduler = Scheduler(self._config.queue, self._config.patience_s)
        self._worker = Worker(scheduler, self, ended=ended)

    # --- from outside -----------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Take on a job that is queued in the store; its motions are loaded ahead.

        Raises:
            OverloadedError: the queue is full, another replica may have room.
            MotionRayError: a motion cannot be used, or the request cannot be read; the job has been
                marked as failed, unless the fault may pass: then it is queued still.
            ValueError: the job is here already.
            JobStoreError: the store cannot be used.
            RuntimeError: the replica is closed.
        """
        try:
            mix = self._engine.mix(GenerationSpec.stored(job.request))
        except MotionRayError as fault:
            if not _may_pass(fault):
                self._store.reject(job.id, job_failure(fault))
            raise
        deadline = None
        if job.deadline is not None:  # on the store's clock, which need not be this machine's
            deadline = job.deadline - self._store.now() + time.monotonic()
        with self._lock:
            new = job.id not in self._mixes
            self._mixes.setdefault(job.id, mix)
        try:
            self._worker.submit(Ticket(job.id, mix.key, job.client, deadline))
        except (MotionRayError, RuntimeError, ValueError):
            if new:  # otherwise it waits here already, and needs its mix
                self._forget(job.id)
            raise

    def cancel(self, job: str) -> Cancelling:
        """Let go of a job that was cancelled in the store: at once, if it runs here within one
        denoising step.
        """
        met = self._worker.cancel(job)
        if met is Cancelling.REMOVED:
            self._forget(job)
        return met

    def load(self) -> tuple[int, float]:
        """Jobs that wait here, and the seconds until one that comes now would start."""
        return self._worker.load()

    @property
    def job_s(self) -> float:
        """Mean seconds for which a job keeps the device; a guess before there was one."""
        return self._worker.job_s

    @property
    def sick(self) -> bool:
        """Whether several jobs in a row met mistakes that are not their own, as all do on a GPU
        whose context is broken, or the thread that runs them has ended: only a new process mends
        that. Nothing is started any more; what waits here is queued still in the store.
        """
        return self._sick or self._worker.dead

    def jobs(self) -> frozenset[str]:
        """Everything that waits or runs here, or is being written."""
        return self._worker.jobs()

    def close(self, seconds: float) -> None:
        """Start nothing more. What runs may go on for so long and is then given back to the store,
        where what waited here is queued still; a video that was made is written.
        """
        self._worker.close(seconds)

    # --- duties of the worker ---------------------------------------------------------------------

    def coming(self, ticket: Ticket, *, next_up: bool) -> None:
        """See :class:`motion_ray.serving.worker.Duties`."""
        with self._lock:
            mix = self._mixes.get(ticket.id)
        if mix is not None:
            self._engine.prefetch(mix, "device" if next_up else "host")

    def drop(self, ticket: Ticket) -> None:
        """See :class:`motion_ray.serving.worker.Duties`."""
        self._forget(ticket.id)
        message = "its deadline passed before it was started"
        self._store.reject(ticket.id, JobFailure(DEADLINE_EXCEEDED, message))

    def run(self, ticket: Ticket, stop: StopCheck) -> Ending | None:
        """See :class:`motion_ray.serving.worker.Duties`; what is left is to write the video."""
        mix = self._forget(ticket.id)
        if mix is None:
            log.info("%s was let go", ticket.id)
            return None
        if self.sick:
            log.warning("%s is left to others: this replica is sick", ticket.id)
            return None
        asked = time.monotonic()
        job = self._store.start(ticket.id, self._name, self._config.lease_s)
        if job is None:
            log.info("%s was cancelled, waits, or runs elsewhere", ticket.id)
            return None
        with ExitStack() as claimed:
            heart = claimed.enter_context(
                Heart(
                    self._store,
                    job.claim,
                    self._config.lease_s,
                    self._config.stall_s,
                    self._hung,
                    asked,
                )
            )
            try:
                generation = self._generate(job, mix, heart, stop)
            except Cancelled:
                self._stopped(job, heart, stop())
                return None
            except Exception as fault:
                self._failed(job, fault, self._unmade)
                return None
            made = time.perf_counter()
            self._unmade.clear()
            claimed = claimed.pop_all()
        finish = partial(self._finish, job, generation, made, heart, claimed)
        if not job.losses:
            return finish
        # It was lost once: perhaps to the job that came after it, which may end this process again.
        finish()
        return None

    def _generate(self, job: Job, mix: Mix, heart: Heart, stop: StopCheck) -> Generation:
        spec = GenerationSpec.stored(job.request)

        def cancelled(*, loading: bool = False) -> bool:
            return heart.lost or heart.cancelling or stop(loading=loading) is not None

        return self._engine.generate(
            spec,
            mix,
            on_step=heart.step,
            cancelled=cancelled,
            given_up=partial(cancelled, loading=True),
        )

    def _finish(
        self, job: Job, generation: Generation, made: float, heart: Heart, claimed: ExitStack
    ) -> None:
        """Write the video that was made at ``made`` (:func:`time.perf_counter`)."""
        heart.moved()
        with claimed:
            try:
                if heart.lost or heart.cancelling:
                    self._stopped(job, heart, None)
                else:
                    self._keep(job, generation, made)
            except Exception as fault:
                self._failed(job, fault, self._unwritten)

    def _keep(self, job: Job, generation: Generation, made: float) -> None:
        result = self._results.keep(job.claim, lambda path: self._write(path, generation.video))
        timings = {
            "queue": max(0.0, (job.started_at or job.created_at) - job.created_at),
            **generation.timings,
            "encode": time.perf_counter() - made,  # if another is being written, the wait as well
        }
        succeeded = self._store.succeed(job.claim, result, timings)
        self._unwritten.clear()
        if succeeded:
            self._tell(job, "succeeded", timings)
        else:
            log.warning("%s was finished for nobody: the claim had run out", job.id)
            self._results.remove(result.file)
            self._tell(job, "lost")

    def _hung(self) -> None:
        """A job's thread waits for something that does not come, and nothing can be run after it.

        Told by the job's heart.
        """
        self._sick = True

    def _failed(self, job: Job, fault: Exception, mistakes: set[str]) -> None:
        """Put back what another attempt may get through, here or elsewhere; else it has failed.

        Args:
            job: which.
            fault: what happened.
            mistakes: those like it.
        """
        passing = _may_pass(fault)
        if passing and not isinstance(fault, ELSEWHERE):
            mistakes.add(job.id)
            self._sick = self._sick or len(self._unmade | self._unwritten) >= SICK
        failure = job_failure(fault)
        most = AWAY_ATTEMPTS if isinstance(fault, AWAY) else ATTEMPTS
        if passing and job.attempt < most:
            log.warning("%s is put back: %s", job.id, type(fault).__name__)
            pause = self._config.retry_s * GROWTH ** (job.attempt - 1)
            self._store.release(job.claim, min(pause, LONGEST_PAUSE_S))
            self._tell(job, "given_back")
            return
        log.info("%s failed: %s", job.id, fault)
        self._store.fail(job.claim, failure)
        self._tell(job, "failed")

    def _stopped(self, job: Job, heart: Heart, why: Stop | None) -> None:
        if heart.lost:
            log.warning("%s was given up: the claim had run out", job.id)
            self._tell(job, "lost")
        elif why is Stop.SHUTDOWN and not heart.cancelling:
            self._store.release(job.claim)
            self._tell(job, "given_back")
        elif why is Stop.DEADLINE:
            failure = JobFailure(DEADLINE_EXCEEDED, "its deadline passed while it ran")
            self._store.fail(job.claim, failure)
            self._tell(job, "failed")
        else:
            self._store.stopped(job.claim)
            self._tell(job, "cancelled")

    def _tell(self, job: Job, outcome: str, timings: Mapping[str, float] | None = None) -> None:
        if self._watch is not None:
            with self._telling:
                self._watch.ended(job, outcome, timings or {})

    def _forget(self, job: str) -> Mix | None:
        with self._lock:
            return self._mixes.pop(job, None)
