"""The client is light: it starts at once and loads nothing that it does not need."""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = ("torch", "ray", "numpy", "pydantic", "diffusers", "transformers", "fastapi")


def test_the_client_loads_nothing_heavy():
    program = (
        "import sys, motion_ray.client, motion_ray.client.command; "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_command_starts_in_less_than_half_a_second():
    """Of the processor's time, which does not depend on what else the machine does."""
    command = [sys.executable, "-m", "motion_ray.client", "--help"]
    seconds = []
    for _ in range(3):  # the first may still have to compile
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        seconds.append(usage.ru_utime + usage.ru_stime)
    assert min(seconds) < 0.5
