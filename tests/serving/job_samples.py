"""Jobs and their store, for tests of it."""

from __future__ import annotations

from pathlib import Path

from motion_ray.serving.jobs import (
    AdmissionLimits,
    Job,
    JobResult,
    NewJob,
)
from motion_ray.serving.sql_jobs import DAY, SqlJobStore
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from tests.waiting import Clock

FREE = AdmissionLimits()
DONE = JobResult(f"video_{'0' * 32}.1.mp4", 10, "ab" * 32)
NOON = 20_000 * DAY + 43_200.0  # of some day, in unix seconds


def clocked_store(folder: Path, clock: Clock) -> SqliteJobStore:
    """In a new file there, on this clock; short times, which tests let pass."""
    return SqliteJobStore(folder / "jobs.sqlite", clock=clock, retention_s=100, memory_s=1000)


def new(client: str = "", key: str | None = None, **changes) -> NewJob:
    values = {"request": {"prompt": "a robot"}, "fingerprint": "f", "idempotency_key": key}
    return NewJob(client, **(values | changes))


def create(store: SqlJobStore, client: str = "", **changes) -> Job:
    return store.create(new(client, **changes), FREE).job


def started(store: SqlJobStore, job: Job, worker: str = "w", lease_s: float = 10) -> Job:
    found = store.start(job.id, worker, lease_s)
    assert found is not None
    return found


def kinds(store: SqlJobStore, job: Job) -> list[str]:
    return [event.kind.value for event in store.events(job.id)]
