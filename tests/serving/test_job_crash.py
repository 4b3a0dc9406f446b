"""kill -9 at random moments, of clients and workers: no accepted job is lost, none ends twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("kills", "seed"),
    [pytest.param(80, 1, marks=pytest.mark.slow), pytest.param(2000, 2, marks=pytest.mark.chaos)],
)
@pytest.mark.timeout(1800)
def test_no_accepted_job_is_lost_and_none_ends_twice(tmp_path: Path, kills: int, seed: int) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.serving.job_crash",
        f"{tmp_path}",
        f"{kills}",
        f"{seed}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    outcome = json.loads(ran.stdout)
    assert outcome["wrong"] == []
    assert outcome["kills"] == kills
    assert outcome["accepted"] > kills / 10 and outcome["finished"] >= outcome["accepted"]
    assert outcome["requeued"] > 0 and outcome["repeated"] > 0
