"""The job store in a database: :class:`motion_ray.serving.job_store.JobStore`.

Every change of state happens in a transaction that nobody else writes during, and names the state,
and where there is one the claim, that it expects; the event and the counters change with it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from motion_ray.serving.job_rows import (
    DAY,
    Connection,
    Database,
    admit,
    as_job,
    as_text,
    count,
    find,
    repeated,
    tell,
    used,
)
from motion_ray.serving.job_transitions import (
    cancel,
    fail,
    held,
    requeue,
    succeed,
    tell_to_stop,
)
from motion_ray.serving.jobs import (
    DEADLINE_EXCEEDED,
    WORKER_LOST,
    AdmissionLimits,
    Beat,
    Claim,
    Created,
    EventKind,
    Job,
    JobEvent,
    JobFailure,
    JobPage,
    JobResult,
    JobState,
    NewJob,
    Usage,
)

USAGE_KEPT = 32  # days
AT_ONCE = 100  # jobs that are seen to in one transaction, which nobody else writes during


class Keeping(TypedDict, total=False):
    """How long a store keeps what, in seconds, and by which clock.

    Attributes:
        retention_s: for which a finished job and its video are kept; a day.
        memory_s: after that, in which the job is known to have been there; thirty days.
        most_losses: attempts whose worker may go silent before the job counts as failed; three.
        clock: unix seconds; null: the database's, so that the clocks of those who share it do not
            matter.
    """

    retention_s: float
    memory_s: float
    most_losses: int
    clock: Callable[[], float] | None


class SqlJobStore:
    """See :class:`motion_ray.serving.job_store.JobStore` for what each method does.

    Args:
        database: where the tables are.
        keeping: see :class:`Keeping`.

    Raises:
        JobStoreError: it cannot be used.
    """

    def __init__(self, database: Database, **keeping: Unpack[Keeping]) -> None:
        self._database = database
        self._retention_s = keeping.get("retention_s", DAY)
        self._memory_s = keeping.get("memory_s", 30 * DAY)
        self._most_losses = keeping.get("most_losses", 3)
        self._clock = keeping.get("clock")

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _now(self, connection: Connection) -> float:
        return self._database.now(connection) if self._clock is None else self._clock()

    def now(self) -> float:
        """See the protocol."""
        with self._database.reading() as connection:
            return self._now(connection)

    # --- accepting --------------------------------------------------------------------------------

    def known(self, new: NewJob) -> Job | None:
        """See the protocol."""
        with self._database.reading() as connection:
            return repeated(connection, new)

    def create(self, new: NewJob, limits: AdmissionLimits) -> Created:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            known = repeated(connection, new)
            if known is not None:
                return Created(known, False)
            admit(connection, new.client, limits, now)
            job = f"video_{secrets.token_hex(16)}"
            deadline = None if new.deadline_s is None else now + new.deadline_s
            connection.execute(
                "INSERT INTO jobs (id, client, state, request, fingerprint, idempotency_key,"
                " created_at, deadline) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    job,
                    new.client,
                    as_text(new.request),
                    new.fingerprint,
                    new.idempotency_key,
                    now,
                    deadline,
                ),
            )
            count(connection, new.client, now, jobs=1)
            tell(connection, job, now, EventKind.QUEUED, {})
            return Created(as_job(find(connection, job, None)), True)

    # --- looking ----------------------------------------------------------------------------------

    def get(self, job: str, client: str | None = None) -> Job:
        """See the protocol."""
        with self._database.reading() as connection:
            return as_job(find(connection, job, client))

    def page(
        self,
        client: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> JobPage:
        """See the protocol."""
        with self._database.reading() as connection:
            where, values = "deleted = 0", list[Any]()
            if client is not None:
                where += " AND client = ?"
                values.append(client)
            if after is not None:
                where += " AND seq < ?" if newest_first else " AND seq > ?"
                values.append(find(connection, after, client)["seq"])
            order = "DESC" if newest_first else "ASC"
            rows = connection.execute(
                f"SELECT * FROM jobs WHERE {where} ORDER BY seq {order} LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        return JobPage(tuple(as_job(row) for row in rows[:limit]), len(rows) > limit)

    def queued(self, limit: int = 1000, *, due: bool = False) -> list[Job]:
        """See the protocol."""
        return self._in_state(JobState.QUEUED, limit, due=due)

    def running(self, limit: int = 1000) -> list[Job]:
        """See the protocol."""
        return self._in_state(JobState.RUNNING, limit)

    def _in_state(self, state: JobState, limit: int, *, due: bool = False) -> list[Job]:
        with self._database.reading() as connection:
            at = self._now(connection) if due else None
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state = ? AND coalesce(not_before <= ?, TRUE)"
                " ORDER BY seq LIMIT ?",
                (state.value, at, limit),
            ).fetchall()
        return [as_job(row) for row in rows]

    def ahead(self, job: str) -> int:
        """See the protocol."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT count(*) AS older FROM jobs WHERE state = 'queued' AND seq <"
                " (SELECT seq FROM jobs WHERE id = ? AND state = 'queued')",
                (job,),
            ).fetchone()
        return row["older"]

    def events(self, job: str, after: int = 0) -> list[JobEvent]:
        """See the protocol."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM events WHERE job = ? AND id > ? ORDER BY id", (job, after)
            ).fetchall()
        return [
            JobEvent(row["id"], job, row["at"], EventKind(row["kind"]), json.loads(row["data"]))
            for row in rows
        ]

    def usage(self, client: str) -> Usage:
        """See the protocol."""
        with self._database.reading() as connection:
            return used(connection, client, self._now(connection))

    def results(self) -> set[str]:
        """See the protocol."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT result_file FROM jobs WHERE result_file IS NOT NULL"
            ).fetchall()
        return {row["result_file"] for row in rows}

    # --- running ----------------------------------------------------------------------------------

    def start(self, job: str, worker: str, lease_s: float) -> Job | None:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            rows = connection.execute(
                "UPDATE jobs SET state = 'running', worker = ?, attempt = attempt + 1,"
                " started_at = ?, lease_until = ?, not_before = NULL, done = 0, total = 0"
                " WHERE id = ? AND state = 'queued' AND coalesce(deadline > ?, TRUE)"
                " AND coalesce(not_before <= ?, TRUE) RETURNING *",
                (worker, now, now + lease_s, job, now, now),
            ).fetchall()
            if not rows:
                return None
            (row,) = rows
            data = {"attempt": row["attempt"], "worker": worker}
            tell(connection, job, now, EventKind.STARTED, data)
            return as_job(row)

    def beat(self, claim: Claim, lease_s: float, done: int = 0, total: int = 0) -> Beat:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            row = held(connection, claim)
            if row is None:
                return Beat(False, False)
            until = max(row["lease_until"], now + lease_s)
            most = (max(row["done"], done), max(row["total"], total))
            connection.execute(
                "UPDATE jobs SET lease_until = ?, done = ?, total = ? WHERE id = ?",
                (until, *most, claim.job),
            )
            if done > row["done"]:
                data = {"done": done, "total": total}
                tell(connection, claim.job, now, EventKind.PROGRESS, data)
            return Beat(True, bool(row["cancelling"]))

    def look(self, claim: Claim) -> Beat:
        """See the protocol."""
        with self._database.reading() as connection:
            row = held(connection, claim)
        return Beat(row is not None, row is not None and bool(row["cancelling"]))

    def succeed(self, claim: Claim, result: JobResult, timings: dict[str, float]) -> bool:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            row = held(connection, claim)
            if row is None:
                return False
            succeed(connection, row, now, self._retention_s, result, timings)
            return True

    def fail(self, claim: Claim, failure: JobFailure) -> bool:
        """See the protocol."""
        with self._database.writing() as connection:
            row = held(connection, claim)
            if row is not None:
                fail(connection, row, self._now(connection), self._retention_s, failure)
            return row is not None

    def stopped(self, claim: Claim) -> bool:
        """See the protocol."""
        with self._database.writing() as connection:
            row = held(connection, claim)
            if row is not None:
                cancel(connection, row, self._now(connection), self._retention_s)
            return row is not None

    def release(self, claim: Claim, pause_s: float = 0.0) -> bool:
        """See the protocol."""
        with self._database.writing() as connection:
            now, kept = self._now(connection), self._retention_s
            row = held(connection, claim)
            if row is not None:
                requeue(connection, row, now, kept, losses=row["losses"], pause_s=pause_s)
            return row is not None

    def reject(self, job: str, failure: JobFailure) -> bool:
        """See the protocol."""
        with self._database.writing() as connection:
            row = connection.execute(
                "SELECT * FROM jobs WHERE id = ? AND state = 'queued'", (job,)
            ).fetchone()
            if row is not None:
                fail(connection, row, self._now(connection), self._retention_s, failure)
            return row is not None

    # --- ending from outside ----------------------------------------------------------------------

    def cancel(self, job: str, client: str | None = None, *, free_key: bool = False) -> Job:
        """See the protocol."""
        with self._database.writing() as connection:
            row = find(connection, job, client)
            tell_to_stop(connection, row, self._now(connection), self._retention_s)
            if free_key:
                connection.execute("UPDATE jobs SET idempotency_key = NULL WHERE id = ?", (job,))
            return as_job(find(connection, job, client))

    def delete(self, job: str, client: str | None = None) -> Job:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            row = find(connection, job, client)
            tell_to_stop(connection, row, now, self._retention_s)
            (changed,) = connection.execute(
                "UPDATE jobs SET deleted = 1,"
                " expires_at = CASE WHEN finished_at IS NOT NULL THEN ? END"
                " WHERE id = ? RETURNING *",
                (now, job),
            ).fetchall()
            return as_job(changed)

    def recover(self) -> list[Job]:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            lost = connection.execute(
                "SELECT * FROM jobs WHERE state = 'running' AND lease_until <= ?"
                " ORDER BY seq LIMIT ?",
                (now, AT_ONCE),
            ).fetchall()
            for row in lost:
                losses = row["losses"] + 1
                if losses >= self._most_losses and not row["cancelling"]:
                    message = f"{losses} workers went silent while they ran it"
                    failure = JobFailure(WORKER_LOST, message)
                    fail(connection, row, now, self._retention_s, failure)
                else:
                    requeue(connection, row, now, self._retention_s, losses=losses)
            late = connection.execute(
                "SELECT * FROM jobs WHERE state = 'queued' AND deadline <= ? ORDER BY seq LIMIT ?",
                (now, AT_ONCE),
            ).fetchall()
            for row in late:
                failure = JobFailure(DEADLINE_EXCEEDED, "its deadline passed before it was started")
                fail(connection, row, now, self._retention_s, failure)
            changed = dict.fromkeys(row["id"] for row in (*lost, *late))
            rows = [
                connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
                for job in changed
            ]
        return [as_job(row) for row in rows]

    def expire(self) -> list[str]:
        """See the protocol."""
        with self._database.writing() as connection:
            now = self._now(connection)
            over = "(SELECT seq FROM jobs WHERE expires_at <= ? ORDER BY seq LIMIT ?)"
            connection.execute(
                "INSERT INTO removed (id, client, at)"
                f" SELECT id, client, CAST(? AS DOUBLE PRECISION) FROM jobs WHERE seq IN {over}",
                (now, now, AT_ONCE),
            )
            rows = connection.execute(
                f"DELETE FROM jobs WHERE seq IN {over} RETURNING result_file", (now, AT_ONCE)
            ).fetchall()
            connection.execute("DELETE FROM removed WHERE at <= ?", (now - self._memory_s,))
            connection.execute("DELETE FROM usage WHERE day < ?", (int(now // DAY) - USAGE_KEPT,))
        return [row["result_file"] for row in rows if row["result_file"] is not None]
