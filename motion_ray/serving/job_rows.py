"""Rows of the job store: reading them, the log of events, the counters, and admission.

Everything here works inside a transaction of a :class:`Database`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from motion_ray.errors import (
    IdempotencyError,
    JobExpiredError,
    JobNotFoundError,
    OverloadedError,
    QuotaError,
)
from motion_ray.serving.jobs import (
    AdmissionLimits,
    EventKind,
    Job,
    JobFailure,
    JobResult,
    JobState,
    NewJob,
    Usage,
)

DAY = 86_400  # seconds
Row = Mapping[str, Any]  # by names of columns


class Cursor(Protocol):
    """Rows that a statement gave."""

    def fetchone(self) -> Any:
        """The next :data:`Row`; null after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...


class Connection(Protocol):
    """What a database gives inside a transaction."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run a statement; ``?`` stands for a value."""
        ...


class Database(Protocol):
    """Tables of jobs, safe for threads and for processes.

    Whatever goes wrong with the database is a JobStoreError.
    """

    def now(self, connection: Connection) -> float:
        """Unix seconds, on a clock that all who share the database share."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A consistent view."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that nobody else writes during; durable on leaving, undone on an error."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def as_text(value: Any) -> str:
    """JSON in one line."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def as_job(row: Row) -> Job:
    """A row of the table ``jobs`` as a value."""
    failure = result = None
    if row["failure_code"] is not None:
        failure = JobFailure(row["failure_code"], row["failure_message"])
    if row["result_file"] is not None:
        result = JobResult(row["result_file"], row["result_bytes"], row["result_sha256"])
    return Job(
        id=row["id"],
        client=row["client"],
        state=JobState(row["state"]),
        request=json.loads(row["request"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
        deadline=row["deadline"],
        not_before=row["not_before"],
        attempt=row["attempt"],
        losses=row["losses"],
        worker=row["worker"],
        lease_until=row["lease_until"],
        done=row["done"],
        total=row["total"],
        cancelling=bool(row["cancelling"]),
        failure=failure,
        result=result,
        timings=json.loads(row["timings"]),
    )


def find(connection: Connection, job: str, client: str | None) -> Row:
    """The row of a job that is visible to a client (null: to anybody).

    Raises:
        JobExpiredError: it was there.
        JobNotFoundError: it was not, or it is somebody else's.
    """
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
    gone = row is None or row["deleted"]
    if row is None:
        row = connection.execute("SELECT * FROM removed WHERE id = ?", (job,)).fetchone()
    if row is None or (client is not None and row["client"] != client):
        # Somebody else's job and no job look alike, so that ids cannot be tried out.
        raise JobNotFoundError(f"job {job[:80]!r}", "there is no such job", "check the id")
    if gone:
        rule = "was removed with its video, after its time or on request"
        raise JobExpiredError(f"job {job}", rule, "generate it again")
    return row


def tell(
    connection: Connection, job: str, now: float, kind: EventKind, data: dict[str, Any]
) -> None:
    """Add an event to the log."""
    connection.execute(
        "INSERT INTO events (job, at, kind, data) VALUES (?, ?, ?, ?)",
        (job, now, kind.value, as_text(data)),
    )


# --- counters and admission -----------------------------------------------------------------------


def count(
    connection: Connection, client: str, now: float, *, jobs: int = 0, seconds: float = 0.0
) -> None:
    """Add to what a client has used today."""
    connection.execute(
        "INSERT INTO usage (client, day, jobs, seconds) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (client, day)"
        " DO UPDATE SET jobs = usage.jobs + excluded.jobs,"
        " seconds = usage.seconds + excluded.seconds",
        (client, int(now // DAY), jobs, seconds),
    )


def used(connection: Connection, client: str, now: float) -> Usage:
    """What a client has used today."""
    row = connection.execute(
        "SELECT jobs, seconds FROM usage WHERE client = ? AND day = ?", (client, int(now // DAY))
    ).fetchone()
    return Usage(0, 0.0) if row is None else Usage(row["jobs"], row["seconds"])


def repeated(connection: Connection, new: NewJob) -> Job | None:
    """The job that the same idempotency key made before.

    Raises:
        IdempotencyError: that was another request, or the job is gone.
    """
    if new.idempotency_key is None:
        return None
    row = connection.execute(
        "SELECT * FROM jobs WHERE client = ? AND idempotency_key = ?",
        (new.client, new.idempotency_key),
    ).fetchone()
    if row is None:
        return None
    where = f"idempotency key {new.idempotency_key[:80]!r}"
    if row["fingerprint"] != new.fingerprint:
        rule = f"was used for another request, which became {row['id']}"
        raise IdempotencyError(where, rule, "use a new key for a new request")
    if row["deleted"]:
        rule = f"belongs to {row['id']}, which was deleted"
        raise IdempotencyError(where, rule, "use a new key to generate it again")
    return as_job(row)


def admit(connection: Connection, client: str, limits: AdmissionLimits, now: float) -> None:
    """Let one more job of a client in, or refuse it.

    Raises:
        QuotaError: a limit of the client's.
        OverloadedError: the limit of all.
    """
    today = used(connection, client, now)
    midnight = (now // DAY + 1) * DAY - now
    where = "your key" if client else "this server"
    if limits.jobs_a_day is not None and today.jobs >= limits.jobs_a_day:
        rule = f"{today.jobs} jobs were accepted today, which is the limit"
        raise QuotaError(where, rule, "ask again tomorrow (UTC)", midnight)
    if limits.seconds_a_day is not None and today.seconds >= limits.seconds_a_day:
        rule = f"{today.seconds:.0f} seconds were used today, the limit is {limits.seconds_a_day:g}"
        raise QuotaError(where, rule, "ask again tomorrow (UTC)", midnight)
    if limits.active is not None:
        active = connection.execute(
            "SELECT count(*) AS n FROM jobs WHERE client = ? AND state IN ('queued', 'running')",
            (client,),
        ).fetchone()["n"]
        if active >= limits.active:
            rule = f"{active} jobs wait or run, which is the limit"
            raise QuotaError(where, rule, "wait for one of them, or cancel it", limits.retry_after)
    if limits.queued is not None:
        queued = connection.execute(
            "SELECT count(*) AS n FROM jobs WHERE state = 'queued'"
        ).fetchone()["n"]
        if queued >= limits.queued:
            rule = f"{queued} jobs are queued, which is the limit"
            raise OverloadedError("the queue", rule, "ask again later", limits.retry_after)
