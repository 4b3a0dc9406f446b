"""A job store in a new file, and the clock it reads."""

from __future__ import annotations

import pytest

from motion_ray.serving.sqlite_jobs import SqliteJobStore
from tests.serving.job_samples import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock) -> SqliteJobStore:
    return SqliteJobStore(tmp_path / "jobs.sqlite", clock=clock, retention_s=100, memory_s=1000)
