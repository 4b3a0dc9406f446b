"""kill -9 at random moments, of clients and workers: no accepted job is lost, none ends twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import Postgres


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(80, 1, marks=pytest.mark.slow), pytest.param(2000, 2, marks=pytest.mark.chaos)],
)
@pytest.mark.timeout(1800)
def test_no_accepted_job_is_lost_and_none_ends_twice(tmp_path: Path, kills: int, seed: int) -> None:
    swarm(tmp_path, kills, seed)


@pytest.mark.slow
def test_nor_with_jobs_in_a_database(tmp_path: Path, postgres: Postgres) -> None:
    swarm(tmp_path, 60, 3, postgres.url)


def swarm(folder: Path, kills: int, seed: int, *url: str) -> None:
    words = [f"{folder}", f"{kills}", f"{seed}", *url]
    command = [sys.executable, "-m", "tests.serving.job_crash", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    outcome = json.loads(ran.stdout)
    assert outcome["wrong"] == []
    assert outcome["kills"] == kills
    assert outcome["accepted"] > kills / 10 and outcome["finished"] >= outcome["accepted"]
    assert outcome["requeued"] > 0 and outcome["repeated"] > 0
