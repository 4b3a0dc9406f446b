"""Where a reproduction is worked on: this process, or workers on a Ray cluster.

On a cluster the cells are the trials of a sweep, and the evaluators those of ``jobs.evaluate``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobs.evaluate_workers import DEVICES, hired, places
from jobs.reproduce_view import View
from jobs.signals import StopSignals
from motion_ray.cluster.session import open_cluster
from motion_ray.errors import MotionRayError
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.workforce import Workforce
from motion_ray.reproduction.record import Record
from motion_ray.reproduction.workplace import Workplace, in_this_process

if TYPE_CHECKING:
    from motion_ray.cluster.resources import WorkerResources

Wanted = Literal["auto", "cpu", "gpu"]
RETRIES = 2  # new attempts of a cell that is lost before it saves anything new
STALL_SECONDS = 3600.0  # without a sign of progress after which a cell's process is killed


@contextmanager
def workplace(options: argparse.Namespace, root: Path, view: View) -> Iterator[Workplace]:
    """Whoever works, while the context lives.

    Args:
        options: ``address``, ``workers``, ``device``, ``threads``.
        root: of the reproduction; absolute.
        view: told what happens.

    Raises:
        ConfigError: more workers than the machine holds, or no cluster answers.
    """
    address = options.address or os.environ.get("RAY_ADDRESS")
    if address is None and options.workers is None:
        yield in_this_process(root, DEVICES[options.device], view.tell)
        return
    with open_cluster(address):
        resources = worker_resources(options.device, options.threads, options.workers)
        workers = places(options.workers, resources, alone=address is None)

        def opened(
            settings: EvaluationSettings, questions: int
        ) -> AbstractContextManager[Workforce]:
            return hired(settings, str(root / "store"), questions, workers, resources)

        train = partial(train_on_cluster, workers=workers, resources=resources, view=view)
        device = f"{workers} worker{'s' if workers > 1 else ''}, {resources} each"
        yield Workplace(train, opened, device)


def worker_resources(device: Wanted, threads: int, workers: int | None) -> WorkerResources:
    """What one worker gets of the connected cluster: a GPU, or its part of the threads.

    Args:
        device: ``auto`` takes GPUs if there are any.
        threads: for all workers together, or for each if their number is not given.
        workers: how many; null: as many as there is room for.
    """
    import ray

    from motion_ray.cluster.resources import choose_resources

    found = choose_resources(ray.nodes(), device, None)
    if found.device == "gpu":
        return found
    return choose_resources(ray.nodes(), "cpu", max(1, threads // max(1, workers or 1)))


def train_on_cluster(
    record: Record, *, workers: int, resources: WorkerResources, view: View
) -> None:
    """Train every cell that waits as a trial of a sweep, on the connected cluster.

    Args:
        record: of the cells.
        workers: cells at once.
        resources: of each.
        view: told what happens.

    Raises:
        KeyboardInterrupt: a stop was asked for; with the exit code.
        MotionRayError: nothing can run any more.
    """
    from jobs.sweep_watch import watch
    from motion_ray.cluster.sweep import SweepJob, SweepPlan

    waiting = record.waiting()
    if not waiting:
        return
    plan = SweepPlan(
        trials=waiting,
        ledger=record.ledger.uri,
        runs=record.runs,
        cache=record.cache,
        scratch=record.root / ".ray",
        slots=min(workers, len(waiting)),
        retries=RETRIES,
        resources=resources,
        store=str(record.store),
        by_name=True,
        stall_seconds=STALL_SECONDS,
    )
    view.expect(plan.slots)
    with StopSignals() as signals:
        job = SweepJob(plan)
        try:
            watch(job, signals, view.show)
        finally:
            job.leave()
        if signals.received is not None:
            raise KeyboardInterrupt(signals.exit_code)
    if job.failure is not None:
        raise MotionRayError("training", job.failure, "run the same command again to go on")
