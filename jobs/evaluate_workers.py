"""Who answers the questions of an evaluation: one evaluator here, or actors on a Ray cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motion_ray.cluster.session import open_cluster
from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.workforce import Workforce, one_here

if TYPE_CHECKING:
    from motion_ray.cluster.resources import WorkerResources

TASKS_A_WORKER = 4  # at least, so that none works long while the others are done
DEVICES = {"auto": None, "cpu": "cpu", "gpu": "cuda"}
"""What ``--device`` of a job means in this process."""


@contextmanager
def workforce(
    options: argparse.Namespace, settings: EvaluationSettings, store: str, questions: int
) -> Iterator[Workforce]:
    """Evaluators while the context lives.

    Args:
        options: ``address``, ``workers``, ``device``, ``threads``.
        settings: models to load; paths are absolute.
        store: of deltas; a path is absolute.
        questions: how many there will be.

    Raises:
        ConfigError: more workers than the machine holds.
        MotionRayError: a model cannot be loaded.
    """
    address = options.address or os.environ.get("RAY_ADDRESS")
    if address is None and options.workers is None:
        with one_here(settings, store, DEVICES[options.device]) as here:
            yield here
        return
    with open_cluster(address):
        import ray  # only now: open_cluster sets what it reads while it is imported

        from motion_ray.cluster.resources import choose_resources

        resources = choose_resources(ray.nodes(), options.device, max(1, options.threads))
        workers = places(options.workers, resources, alone=address is None)
        with hired(settings, store, questions, workers, resources) as crew:
            yield crew


def places(wanted: int | None, resources: WorkerResources, *, alone: bool) -> int:
    """How many workers the connected cluster is to run.

    Args:
        wanted: asked for; null: as many as there is room for now.
        resources: of each.
        alone: the cluster is this machine and gets no other.

    Raises:
        ConfigError: less than one, or more than the machine holds.
    """
    import ray

    from motion_ray.cluster.resources import count_workers

    room = count_workers(ray.nodes(), resources)
    workers = room if wanted is None else wanted
    if workers < 1 or (alone and workers > room):
        raise ConfigError(
            f"--workers {workers}",
            f"there is room for {room} workers with {resources} each",
            "ask for at least one, for fewer --threads, or join a larger cluster with --address",
        )
    return workers


@contextmanager
def hired(
    settings: EvaluationSettings,
    store: str,
    questions: int,
    workers: int,
    resources: WorkerResources,
) -> Iterator[Workforce]:
    """Evaluators on the connected cluster while the context lives.

    Args:
        settings: models to load; paths are absolute.
        store: of deltas; a path is absolute.
        questions: how many there will be; without any, one actor says what it would use.
        workers: how many actors at most.
        resources: of each.

    Raises:
        MotionRayError: a model cannot be loaded.
    """
    from motion_ray.cluster.evaluating import Crew, RayEvaluators

    workers = max(1, min(workers, questions))
    with RayEvaluators(Crew(settings, store, workers, resources)) as evaluators:
        share = -(-questions // (TASKS_A_WORKER * workers))
        size = max(1, min(settings.batch_size, share))
        measured_with = evaluators.measured_with()
        yield Workforce(evaluators.work, evaluators.film, measured_with, size)
