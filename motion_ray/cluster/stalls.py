"""Ending the process of a trial that hangs.

A training that waits for ever (a stuck driver, a dead network mount) raises nothing, so nothing
else notices: its slot would be lost for the whole sweep. The desk knows when it last heard of a
trial; here is what is done about one of which it has not heard for too long. What comes after is
what comes after every lost worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from motion_ray.cluster.patience import Patience
from motion_ray.cluster.stall import Stall

LOOKS = 8  # at the trials in the time after which one counts as hanging
MOST_SECONDS = 30.0  # between two looks


class StallGuard:
    """Looks from time to time for trials that hang, and kills their processes.

    Args:
        desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`, which says which hang.
        seconds: without a sign of progress after which one does.
        clock: seconds, monotonic.
    """

    def __init__(
        self, desk: Any, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk, self._clock = desk, clock
        self._every = min(seconds / LOOKS, MOST_SECONDS)
        self._looked = clock()
        self._patience = Patience("trials that hang cannot be told now", clock)

    def look(self) -> None:
        """Look, if it is time to."""
        if self._clock() - self._looked < self._every:
            return
        self._looked = self._clock()
        with self._patience:
            for stall in ray.get(self._desk.stalled.remote()):
                kill_process(stall)


def kill_process(stall: Stall) -> Any:
    """End a process on its node with kill -9; returns Ray's reference to the end of that.

    By its number and not through Ray's own handle: a process that is stopped or sits in the kernel
    does not answer Ray.
    """
    there = NodeAffinitySchedulingStrategy(stall.node, soft=False)
    task = ray.remote(_kill).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(stall.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, signal.SIGKILL)
