"""Watching trials that run on a cluster, and passing a request to stop on to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from jobs.signals import StopSignals
from motion_ray.cluster.desk import News
from motion_ray.cluster.sweep import SweepJob

REFRESH_SECONDS = 0.5
STOP_SECONDS = 30.0  # for steps that are under way; whether they end or are ended, all resumes


def watch(job: SweepJob, signals: StopSignals, show: Callable[[Sequence[News]], None]) -> None:
    """Show what happens until all is over, or the slots have ended after a stop was asked for.

    Args:
        job: the trials.
        signals: whether a stop is asked for.
        show: called a few times a second with what is new.
    """
    deadline: float | None = None
    while not job.over and (deadline is None or time.monotonic() < deadline):
        show(job.wait(REFRESH_SECONDS))
        if signals.received is not None and deadline is None:
            deadline = time.monotonic() + STOP_SECONDS
            job.request_stop()
        if deadline is not None and not job.busy():
            break
    show(job.wait(0.0))
