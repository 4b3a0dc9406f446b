"""A reproduction on workers that takes up one of a single process, and outlives what is killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motion_ray.evaluation.measurement_files import read_table
from motion_ray.sweeps.ledger import Ledger
from tests.ray.running import Job, metrics

pytestmark = pytest.mark.timeout(3600)

PATIENCE = 1200.0  # seconds; an idle machine needs a tenth
STEPS = 24
COMMAND = [
    *("table2d", "--motions", "dabbing", "--seeds", "0", "--prompts", "2"),
    *("--threads", "2", "--device", "cpu"),
    *(
        word
        for setting in (
            f"max_steps={STEPS}",
            "batch_size=1",
            "augmentation.variants=1",
            "checkpoint_every=4",
            "validation.every=12",
            "validation.floor=null",
            "sampling.steps=1",
        )
        for word in ("--set", setting)
    ),
]
CELLS = ("ours--dabbing--s0", "uniform--dabbing--s0")
StartReproduction = Callable[..., Job]


@pytest.fixture
def start_reproduction(cluster: str, tmp_path: Path) -> Iterator[StartReproduction]:
    """Start the same reproduction, on the shared cluster or in a process of its own."""
    jobs: list[Job] = []

    def start(*more: str, alone: bool = False) -> Job:
        address = {"RAY_ADDRESS": None if alone else cluster}
        log, out = tmp_path / f"job-{len(jobs)}.log", tmp_path / "out"
        jobs.append(Job([*COMMAND, *more], out, log, address, "jobs.reproduce"))
        return jobs[-1]

    yield start
    for job in jobs:
        job.end()


def steps(out: Path, cell: str) -> list[int]:
    """Steps that a cell has recorded, in file order."""
    return [line["step"] for line in metrics(out / "cells" / cell) if line["event"] == "step"]


def kill(job: Job) -> None:
    """kill -9 a script with its process group."""
    os.killpg(job.process.pid, signal.SIGKILL)
    job.process.wait()


@pytest.mark.large  # minutes
def test_workers_take_up_what_one_process_began_whoever_is_killed(
    start_reproduction: StartReproduction, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    alone = start_reproduction(alone=True)
    alone.until(lambda: len(steps(out, CELLS[0])) >= 6, PATIENCE)
    kill(alone)
    begun = steps(out, CELLS[0])[-1]

    first = start_reproduction("--workers", "2")
    first.until(lambda: "resumed" in first.printed or len(steps(out, CELLS[1])) >= 3, PATIENCE)
    os.kill(first.worker(), signal.SIGKILL)
    first.until(
        lambda: steps(out, CELLS[0])[-1] > begun and len(steps(out, CELLS[1])) >= 6, PATIENCE
    )
    kill(first)

    second = start_reproduction("--workers", "2")
    assert second.finish(PATIENCE) == 0, second.printed
    assert "2 of 2 cells trained" in second.printed and "report.html" in second.printed
    ledger = Ledger(out / "ledger")
    for identity, trial in ledger.trials().items():
        assert steps(out, trial.motion) == list(range(1, STEPS + 1))
        kinds = [event.kind for event in ledger.history(identity)]
        assert kinds.count("finished") == 1, kinds
        assert kinds.count("started") == 1 + kinds.count("interrupted"), kinds
    assert {trial.motion for trial in ledger.trials().values()} == set(CELLS)
    rows, _ = read_table(out / "evaluation" / "base" / "rows.parquet")
    # Ours at two steps and uniform at its last, the base in words, drawn clips: two videos each.
    assert len(rows) == 10 and not any(row.failure for row in rows)
    assert {path.parent.name.rpartition("-")[0] for path in out.glob("videos/*/0.mp4")} == set(
        CELLS
    )
    calls = (out / "calls.jsonl").read_text().splitlines()
    devices = dict.fromkeys(json.loads(line)["device"] for line in calls)
    assert list(devices)[1:] == ["2 workers, 1 CPU core each"]  # after the one process

    again = start_reproduction("--publish", str(tmp_path / "results"), alone=True)
    assert again.finish(PATIENCE) == 0, again.printed
    assert "s0: training" not in again.printed
    assert (out / "calls.jsonl").read_text().splitlines() == calls
    assert (tmp_path / "results" / "puppet" / "README.md").exists()
