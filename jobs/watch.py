"""The driver's loop: show what the worker reports, pass a stop request on, tell how it ended."""

from __future__ import annotations

import sys
import time
from typing import Literal

import ray
from ray.exceptions import RayError
from ray.train import TrainingFailedError

from jobs.checks import Plan
from jobs.display import Display, ShieldedDisplay
from jobs.signals import StopSignals
from motion_ray.cluster.progress import Progress
from motion_ray.cluster.resources import choose_resources, count_workers
from motion_ray.cluster.training import TrainingJob
from motion_ray.errors import ConfigError
from motion_ray.types import RunFinished

REFRESH_SECONDS = 0.25
STOP_SECONDS = (
    20.0  # a step, or part of a validation; the run is resumable whether it ends or is ended
)


def train(
    plan: Plan,
    device: Literal["auto", "cpu", "gpu"],
    display: Display,
    signals: StopSignals,
    *,
    alone: bool = False,
) -> RunFinished | None:
    """Train on the connected cluster; null if that failed or was stopped, which has been said.

    Args:
        plan: what to train.
        device: ``auto`` takes a GPU if there is one; ``gpu`` also waits for an autoscaler.
        display: shows it.
        signals: ask it to stop.
        alone: the cluster is this machine and gets no other.

    Raises:
        MotionRayError: the run failed in a way that a retry would meet again.
    """
    signals.install()  # ray.init has put its own in their place
    resources = choose_resources(ray.nodes(), device, plan.config.engine.threads)
    if alone and count_workers(ray.nodes(), resources) < 1:
        rule = f"this machine has no {resources}, and no other will come"
        raise ConfigError(f"--device {device}", rule, "nvidia-smi shows whether a driver works")
    job = TrainingJob(plan.config, plan.out, plan.store, resources, plan.cache)
    try:
        return _watch(job, signals, display, Progress(stage=f"waiting for {resources}"))
    except (TrainingFailedError, RayError) as error:
        print(f"error: training failed, also when tried again: {error}", file=sys.stderr)
        print("run the same command to resume", file=sys.stderr)
        return None


def _watch(
    job: TrainingJob, signals: StopSignals, display: Display, progress: Progress
) -> RunFinished | None:
    deadline: float | None = None
    with ShieldedDisplay(display) as shown:
        while not job.over and (deadline is None or time.monotonic() < deadline):
            items = job.wait(REFRESH_SECONDS)
            for item in items:
                progress.update(item)
            if not job.blind:
                shown.show(items, progress)
            if signals.received is not None and deadline is None:
                # Before the worker has begun there is nothing to wait for.
                deadline = time.monotonic() + (STOP_SECONDS if progress.attempts else 0.0)
                job.request_stop()
            if deadline is not None and job.blind:
                break  # the signal has reached the cluster as well
    if job.over:
        outcome = job.outcome()
        if outcome.error is not None:
            raise outcome.error
        if outcome.finished is not None:
            return outcome.finished
    saved = (
        f"last checkpoint: {progress.checkpoint}" if progress.checkpoint else "no checkpoint yet"
    )
    print(f"stopped at step {progress.step} ({saved}); run the same command to resume", flush=True)
    return None
