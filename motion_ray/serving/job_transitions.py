"""Changes of a job's state, each with its event and its counters, inside one transaction.

``row`` is always the job as it was read in the same transaction, ``now`` in unix seconds, and
``retention_s`` how long a finished job is kept.
"""

from __future__ import annotations

from typing import Any

from motion_ray.serving.job_rows import Connection, Row, as_text, count, tell
from motion_ray.serving.jobs import Claim, EventKind, JobFailure, JobResult, JobState


def held(connection: Connection, claim: Claim) -> Row | None:
    """The row of a job whose claim still holds."""
    return connection.execute(
        "SELECT * FROM jobs WHERE id = ? AND state = 'running' AND worker = ? AND attempt = ?",
        (claim.job, claim.worker, claim.attempt),
    ).fetchone()


def succeed(
    connection: Connection,
    row: Row,
    now: float,
    retention_s: float,
    result: JobResult,
    timings: dict[str, float],
) -> None:
    """Running to succeeded."""
    connection.execute(
        "UPDATE jobs SET state = 'succeeded', done = total, result_file = ?, result_bytes = ?,"
        " result_sha256 = ?, timings = ?, finished_at = ?, lease_until = NULL WHERE id = ?",
        (result.file, result.nbytes, result.sha256, as_text(timings), now, row["id"]),
    )
    _ended(connection, row, now, retention_s, EventKind.SUCCEEDED, {"timings": timings})


def fail(
    connection: Connection,
    row: Row,
    now: float,
    retention_s: float,
    failure: JobFailure,
) -> None:
    """Queued or running to failed."""
    connection.execute(
        "UPDATE jobs SET state = 'failed', failure_code = ?, failure_message = ?,"
        " finished_at = ?, lease_until = NULL WHERE id = ?",
        (failure.code, failure.message, now, row["id"]),
    )
    data = {"code": failure.code, "message": failure.message}
    _ended(connection, row, now, retention_s, EventKind.FAILED, data)


def cancel(connection: Connection, row: Row, now: float, retention_s: float) -> None:
    """Queued or running to cancelled."""
    connection.execute(
        "UPDATE jobs SET state = 'cancelled', finished_at = ?, lease_until = NULL WHERE id = ?",
        (now, row["id"]),
    )
    _ended(connection, row, now, retention_s, EventKind.CANCELLED, {})


def requeue(
    connection: Connection,
    row: Row,
    now: float,
    retention_s: float,
    *,
    losses: int,
    pause_s: float = 0.0,
) -> None:
    """Running back to queued; or to cancelled, if it was told to stop."""
    if row["cancelling"]:
        cancel(connection, row, now, retention_s)
        return
    connection.execute(
        "UPDATE jobs SET state = 'queued', worker = NULL, started_at = NULL,"
        " lease_until = NULL, not_before = ?, done = 0, total = 0, losses = ? WHERE id = ?",
        (now + pause_s if pause_s else None, losses, row["id"]),
    )
    _count_run(connection, row, now)
    data = {"losses": losses} | ({"pause_s": pause_s} if pause_s else {})
    tell(connection, row["id"], now, EventKind.REQUEUED, data)


def tell_to_stop(connection: Connection, row: Row, now: float, retention_s: float) -> None:
    """Queued to cancelled; a running job is told once; a final one stays as it is."""
    if row["state"] == JobState.QUEUED:
        cancel(connection, row, now, retention_s)
    elif row["state"] == JobState.RUNNING and not row["cancelling"]:
        connection.execute("UPDATE jobs SET cancelling = 1 WHERE id = ?", (row["id"],))
        tell(connection, row["id"], now, EventKind.CANCELLING, {})


def _ended(
    connection: Connection,
    row: Row,
    now: float,
    retention_s: float,
    kind: EventKind,
    data: dict[str, Any],
) -> None:
    """What every final state has in common."""
    expires = now if row["deleted"] else now + retention_s
    connection.execute(
        "UPDATE jobs SET expires_at = ?, cancelling = 0 WHERE id = ?", (expires, row["id"])
    )
    _count_run(connection, row, now)
    tell(connection, row["id"], now, kind, data)


def _count_run(connection: Connection, row: Row, now: float) -> None:
    if row["state"] == JobState.RUNNING:
        count(connection, row["client"], now, seconds=max(0.0, now - row["started_at"]))
