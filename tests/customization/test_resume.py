"""kill -9 at random moments, the same call again: the same bits as a run that was never
interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time

import pytest

from tests.customization.resumable import train

PRECISION = {"torch-bf16": "auto"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("engine", "kills", "steps"),  # more steps than so many lives of a few each
    [("torch", 20, 300), ("torch-bf16", 4, 80), ("deepspeed", 4, 80)],
)
def test_killed_again_and_again_a_run_ends_with_the_same_bits(
    tiny_run, tmp_path, engine, kills, steps
):
    config = tiny_run.replace(
        {
            "max_steps": steps,
            "checkpoint_every": 3,
            "engine": {"name": engine, "dropout": True, "precision": PRECISION.get(engine, "fp32")},
            "batch_size": 2,
        }
    )
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.customization.resumable"])
    straight = server.Process(target=train, args=(config, tmp_path / "straight"))
    straight.start()
    straight.join()
    assert straight.exitcode == 0
    chance = random.Random(0)
    killed = 0
    out = tmp_path / "killed"
    while killed < kills:
        process = server.Process(target=train, args=(config, out))
        process.start()
        _wait_for_progress(out, process, chance.randint(1, 3))
        time.sleep(chance.uniform(0, 0.05))
        assert process.is_alive() and process.pid is not None, f"it ended after {killed} kills"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += 1
    final = server.Process(target=train, args=(config, out))
    final.start()
    final.join()
    assert final.exitcode == 0
    expected, found = (
        json.loads((tmp_path / n / "result.json").read_text()) for n in ("straight", "killed")
    )
    assert found["sha256"] == expected["sha256"]
    assert _losses(out) == _losses(tmp_path / "straight")


def _wait_for_progress(out, process, steps: int) -> None:
    """Return once the run has logged ``steps`` more lines, or is over."""
    metrics = out / "metrics.jsonl"
    start = metrics.stat().st_size if metrics.exists() else 0
    wanted = start + steps * 100  # about a hundred bytes a line
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        if metrics.exists() and metrics.stat().st_size >= wanted:
            return
        time.sleep(0.002)


def _losses(out) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["event"] == "step"]
