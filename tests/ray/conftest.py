"""One Ray cluster on this machine for all tests here, with two cores and token authentication."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from motion_ray.cluster.session import open_cluster
from motion_ray.config import CustomizationConfig
from tests.ray.running import Job

StartJob = Callable[..., Job]


@pytest.fixture(scope="session", autouse=True)
def one_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All clusters of a run are one process's: see the scheduler in tests/conftest.py."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    note = tmp_path_factory.getbasetemp().parent / "clusters"  # all workers see this folder
    with contextlib.suppress(FileExistsError), note.open("x") as file:
        file.write(worker)
    first = note.read_text()
    assert first == worker, f"tests with clusters are in {first} already; use --dist loadscope"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of the shared cluster; its token is in the environment."""
    # Of a proxy of Serve that is not up within three times 5 s the controller would have no more.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    with open_cluster(None, cpus=2) as session:
        yield session.address


@pytest.fixture
def start(cluster: str, tmp_path: Path) -> Iterator[StartJob]:
    """Start a job on the shared cluster, or with ``private=True`` on one of its own."""
    jobs: list[Job] = []
    numbers = itertools.count()

    def start_job(arguments: list[str], out: Path, private: bool = False) -> Job:
        address = {"RAY_ADDRESS": None if private else cluster}
        job = Job(arguments, out, tmp_path / f"job-{next(numbers)}.log", address)
        jobs.append(job)
        return job

    yield start_job
    for job in jobs:
        job.end()


@pytest.fixture(scope="session")
def long_run(tiny_bases: dict[str, Path], tiny_motion: dict[str, Path]) -> CustomizationConfig:
    """Thirty steps of the tiny model with DeepSpeed and one thread: the same bits every time."""
    from tests.tiny import tiny_config

    bases = tiny_bases["v_prediction"]
    config = tiny_config(bases, tiny_motion["motion"], tiny_motion["regularization"])
    return config.replace(
        {
            "engine": {"name": "deepspeed", "threads": 1, "dropout": True},
            "max_steps": 30,
            "checkpoint_every": 5,
        }
    )


@pytest.fixture(scope="session")
def command(long_run: CustomizationConfig, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a job that runs :func:`long_run`."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(long_run.model_dump(mode="json")))
    return ["--recipe", str(recipe), "--motion", long_run.motion]
