"""A job of generating a video: its states and the values around it (diagram: docs/serving.md)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class JobState(enum.StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing changes any more."""
        return self in FINAL


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class EventKind(enum.StrEnum):
    """What the log of a job tells."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    REQUEUED = "requeued"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class JobFailure:
    """Why a job failed.

    Attributes:
        code: for programs, e.g. ``deadline_exceeded``.
        message: for people.
    """

    code: str
    message: str


WORKER_LOST = "worker_lost"
DEADLINE_EXCEEDED = "deadline_exceeded"


@dataclass(frozen=True)
class JobResult:
    """A finished video.

    Attributes:
        file: name in the folder of results.
        nbytes: its size.
        sha256: of its content.
    """

    file: str
    nbytes: int
    sha256: str


@dataclass(frozen=True)
class Claim:
    """The right to run a job, until it runs out.

    Attributes:
        job: id.
        worker: who holds it.
        attempt: counts the starts of the job; an older one is worth nothing.
    """

    job: str
    worker: str
    attempt: int


@dataclass(frozen=True)
class NewJob:
    """What is asked for.

    Attributes:
        client: whose it is: id of an API key, "" without keys.
        request: what to generate, as JSON, with everything resolved that may change meanwhile.
        fingerprint: of the request, to tell whether an idempotency key is used for the same thing.
        idempotency_key: chosen by the client; the same one gives the same job.
        deadline_s: seconds after its acceptance by which it must be finished; null: whenever.
    """

    client: str
    request: dict[str, Any]
    fingerprint: str
    idempotency_key: str | None = None
    deadline_s: float | None = None


@dataclass(frozen=True)
class AdmissionLimits:
    """What may be in the store; null is no limit. All of them hold exactly, across processes.

    Attributes:
        queued: jobs of all clients that wait.
        active: jobs of one client that wait or run.
        jobs_a_day: jobs of one client accepted on a day (UTC).
        seconds_a_day: seconds that jobs of one client have run on a day (UTC).
        retry_after: seconds to tell a client whose job finds no place.
    """

    queued: int | None = None
    active: int | None = None
    jobs_a_day: int | None = None
    seconds_a_day: float | None = None
    retry_after: float = 5.0


@dataclass(frozen=True)
class Job:
    """A row of the store. Times are unix seconds, on the store's clock.

    Attributes:
        id: unguessable.
        client: whose it is.
        state: where it is.
        request: as in :class:`NewJob`.
        created_at: accepted.
        started_at: of the present or last attempt.
        finished_at: reached a final state.
        expires_at: is removed, with its video.
        deadline: by which it must be finished; null: whenever.
        not_before: it was put back and is not started again earlier.
        attempt: starts so far.
        losses: attempts whose worker went silent.
        worker: who runs it or ran it last.
        lease_until: the worker's claim runs out.
        done: denoising steps.
        total: denoising steps in all; 0 before they are known.
        cancelling: it runs and was told to stop.
        failure: if it failed.
        result: if it succeeded.
        timings: seconds by stage.
    """

    id: str
    client: str
    state: JobState
    request: dict[str, Any]
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    deadline: float | None = None
    not_before: float | None = None
    attempt: int = 0
    losses: int = 0
    worker: str | None = None
    lease_until: float | None = None
    done: int = 0
    total: int = 0
    cancelling: bool = False
    failure: JobFailure | None = None
    result: JobResult | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def claim(self) -> Claim:
        """The present attempt's."""
        return Claim(self.id, self.worker or "", self.attempt)


@dataclass(frozen=True)
class Created:
    """Answer to a request for a job.

    Attributes:
        job: the new one, or the one that the idempotency key made before.
        fresh: whether it is new.
    """

    job: Job
    fresh: bool


@dataclass(frozen=True)
class Beat:
    """Answer to a sign of life.

    Attributes:
        held: the claim still holds; if not, the work is for nobody.
        cancelling: the job is to stop.
    """

    held: bool
    cancelling: bool


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        id: grows with every event of the store; what ``Last-Event-ID`` holds.
        job: id.
        at: unix seconds.
        kind: what happened.
        data: the rest.
    """

    id: int
    job: str
    at: float
    kind: EventKind
    data: dict[str, Any]


@dataclass(frozen=True)
class JobPage:
    """A part of a list.

    Attributes:
        jobs: in the order asked for.
        more: whether others follow.
    """

    jobs: tuple[Job, ...]
    more: bool


@dataclass(frozen=True)
class Usage:
    """What a client has used on a day (UTC).

    Attributes:
        jobs: accepted.
        seconds: run.
    """

    jobs: int
    seconds: float
