"""A job store in a new file, its videos and a clock; an engine to hold up, a base and a library of
toy motions; what is logged.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from motion_ray.serving.logs import JsonLines
from motion_ray.serving.postgres_jobs import PostgresJobStore
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sql_jobs import SqlJobStore
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from tests.postgres import Postgres, running
from tests.serving.fake_engine import FakeEngine
from tests.serving.job_samples import NOON, clocked_store
from tests.serving.toy import Library, ToyBase
from tests.waiting import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def store(tmp_path) -> SqliteJobStore:
    return SqliteJobStore(tmp_path / "jobs.sqlite")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server, started for the first test that needs one."""
    with running() as server:
        yield server


@pytest.fixture(params=["file", "postgres"])
def clocked(request: pytest.FixtureRequest, tmp_path, clock) -> Iterator[SqlJobStore]:
    """A store on the test's clock, of each kind; short times, which tests let pass."""
    if request.param == "file":
        made: SqlJobStore = clocked_store(tmp_path, clock)
    else:
        server: Postgres = request.getfixturevalue("postgres")
        made = PostgresJobStore(
            server.url, server.schema(), "here", clock=clock, retention_s=100, memory_s=1000
        )
    yield made
    made.close()


@pytest.fixture
def results(tmp_path) -> ResultFolder:
    return ResultFolder(tmp_path / "results")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def base() -> ToyBase:
    return ToyBase()


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the library logs meanwhile, as a server writes it."""
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger("motion_ray")
    handler.setFormatter(JsonLines())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)
