"""A process that hangs, killed on its node."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import ray

from motion_ray.cluster.desk import SweepDesk
from motion_ray.cluster.stall import Stall
from motion_ray.cluster.stalls import StallGuard, kill_process
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState
from tests.sweeps.samples import trial


def test_a_sleeping_and_a_stopped_process_are_killed(cluster: str) -> None:
    node = ray.get_runtime_context().get_node_id()
    with subprocess.Popen(["sleep", "600"]) as asleep, subprocess.Popen(["sleep", "600"]) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        ray.get([kill_process(Stall(node, each.pid)) for each in (asleep, frozen)])
        codes = [each.wait(10) for each in (asleep, frozen)]
        assert codes == [-signal.SIGKILL, -signal.SIGKILL]
        ray.get(kill_process(Stall(node, asleep.pid)))  # gone already


def test_the_process_of_a_trial_that_shows_no_progress_is_killed_and_its_loss_has_a_reason(
    cluster: str, tmp_path: Path
) -> None:
    one, ledger, limit = trial(1), Ledger(tmp_path / "ledger"), 1.0
    ledger.add([one])
    node = ray.get_runtime_context().get_node_id()
    desk = ray.remote(SweepDesk).options(num_cpus=0)
    desk = desk.remote(ledger.uri, str(tmp_path / "runs"), 1, 2, stall_seconds=limit)
    guard = StallGuard(desk, limit)
    with subprocess.Popen(["sleep", "600"]) as asleep:
        ray.get(desk.enter.remote("slot", "host", asleep.pid, node))
        ray.get(desk.post.remote(one.identity))
        order = ray.get(desk.take.remote("slot"))
        assert order.identity == one.identity
        deadline = time.monotonic() + 60
        while asleep.poll() is None and time.monotonic() < deadline:
            guard.look()
            time.sleep(0.1)
        assert asleep.returncode == -signal.SIGKILL
    ray.get(desk.lost.remote("slot", "the worker was lost"))  # as Ray Train tells it
    status = ledger.status(one.identity)
    assert (status.state, status.lost) == (TrialState.WAITING, 1)
    assert "no sign of progress for 1 s, so its process was killed" in status.reason
    ray.kill(desk)
