"""A process that hangs, killed on its node."""

from __future__ import annotations

import signal
import subprocess

import ray

from motion_ray.cluster.stall import Stall
from motion_ray.cluster.stalls import kill_process


def test_a_sleeping_and_a_stopped_process_are_killed(cluster: str) -> None:
    node = ray.get_runtime_context().get_node_id()
    with subprocess.Popen(["sleep", "600"]) as asleep, subprocess.Popen(["sleep", "600"]) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        ray.get([kill_process(Stall(node, each.pid)) for each in (asleep, frozen)])
        codes = [each.wait(10) for each in (asleep, frozen)]
        assert codes == [-signal.SIGKILL, -signal.SIGKILL]
        ray.get(kill_process(Stall(node, asleep.pid)))  # gone already
