"""What a store of jobs promises, wherever it keeps them.

A job is stored before anything is done about it, so an accepted job is never lost. Every change of
state names the state it expects, so of two that contradict each other exactly one happens. Whoever
runs a job holds a claim that has to be renewed; a claim that ran out puts the job back into the
queue, and makes the old holder's word count for nothing.
"""

from __future__ import annotations

from typing import Protocol

from motion_ray.serving.jobs import (
    AdmissionLimits,
    Beat,
    Claim,
    Created,
    Job,
    JobEvent,
    JobFailure,
    JobPage,
    JobResult,
    NewJob,
    Usage,
)


class JobStore(Protocol):
    """Jobs, their events and counters; safe for threads and for processes.

    Everything may raise JobStoreError if the store cannot be used.
    """

    def now(self) -> float:
        """Unix seconds on the clock that all times in the store go by."""
        ...

    def known(self, new: NewJob) -> Job | None:
        """The job that the same idempotency key made before; null without a key, or for a new one.

        Raises:
            IdempotencyError: the key was used for another request.
        """
        ...

    def create(self, new: NewJob, limits: AdmissionLimits) -> Created:
        """Accept a job: when this returns, it is stored durably.

        Raises:
            QuotaError: the client has reached one of its limits.
            OverloadedError: too many jobs wait.
            IdempotencyError: the key was used for another request.
        """
        ...

    def get(self, job: str, client: str | None = None) -> Job:
        """One job; with ``client`` given, only if it is the client's.

        Raises:
            JobExpiredError: it was there and has been removed after its time.
            JobNotFoundError: there is no such job.
        """
        ...

    def page(
        self,
        client: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> JobPage:
        """Jobs of a client, or of everybody, from the one that follows ``after``.

        Raises:
            JobNotFoundError: there is no job ``after``.
        """
        ...

    def queued(self, limit: int = 1000, *, due: bool = False) -> list[Job]:
        """Jobs that wait, oldest first.

        Args:
            limit: at most so many.
            due: only those that may be started now: what has to be handed out anew after a restart.
        """
        ...

    def running(self, limit: int = 1000) -> list[Job]:
        """Jobs that run, oldest first."""
        ...

    def ahead(self, job: str) -> int:
        """How many older jobs wait, of all clients; 0 for a job that does not wait.

        Not a promise: replicas take turns between clients and group jobs by motion.
        """
        ...

    def events(self, job: str, after: int = 0) -> list[JobEvent]:
        """What happened to a job since an event, oldest first."""
        ...

    def usage(self, client: str) -> Usage:
        """What a client has used today."""
        ...

    def start(self, job: str, worker: str, lease_s: float) -> Job | None:
        """Queued to running, for this worker; null if it is not queued (any more)."""
        ...

    def beat(self, claim: Claim, lease_s: float, done: int = 0, total: int = 0) -> Beat:
        """Renew a claim and note the progress."""
        ...

    def look(self, claim: Claim) -> Beat:
        """What :meth:`beat` answers, without renewing anything: it only reads."""
        ...

    def succeed(self, claim: Claim, result: JobResult, timings: dict[str, float]) -> bool:
        """Running to succeeded; false if the claim no longer holds."""
        ...

    def fail(self, claim: Claim, failure: JobFailure) -> bool:
        """Running to failed; false if the claim no longer holds."""
        ...

    def stopped(self, claim: Claim) -> bool:
        """Running to cancelled, because the work has stopped; false if the claim does not hold."""
        ...

    def release(self, claim: Claim, pause_s: float = 0.0) -> bool:
        """Running back to queued, because the worker shuts down or met what may pass; false if the
        claim does not hold.

        Args:
            claim: the worker's.
            pause_s: seconds before which nobody may start it.
        """
        ...

    def reject(self, job: str, failure: JobFailure) -> bool:
        """Queued to failed, without having run; false if it is not queued."""
        ...

    def cancel(self, job: str, client: str | None = None, *, free_key: bool = False) -> Job:
        """Queued to cancelled at once; a running job is told to stop; a final one stays.

        Args:
            job: which.
            client: as for :meth:`get`.
            free_key: its idempotency key belongs to nothing from now on.

        Raises:
            JobNotFoundError: as :meth:`get`.
        """
        ...

    def delete(self, job: str, client: str | None = None) -> Job:
        """:meth:`cancel`, and remove job and video with the next :meth:`expire`; nobody sees it
        from here on.

        Raises:
            JobNotFoundError: as :meth:`get`.
        """
        ...

    def recover(self) -> list[Job]:
        """See to jobs whose worker went silent, and to queued ones whose deadline passed.

        Returns:
            Those that changed: queued again, or final.
        """
        ...

    def expire(self) -> list[str]:
        """Remove jobs after their time; afterwards they answer JobExpiredError.

        Returns:
            Names of the videos that belong to nobody now.
        """
        ...

    def results(self) -> set[str]:
        """Names of the videos that belong to a job."""
        ...
