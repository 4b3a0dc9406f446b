"""Who answers the questions of an evaluation: one evaluator here, or actors on a Ray cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from motion_ray.cluster.session import open_cluster
from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluator import EvaluationSettings, open_evaluator
from motion_ray.evaluation.protocol import Work, in_process

TASKS_A_WORKER = 4  # at least, so that none works long while the others are done
DEVICES = {"auto": None, "cpu": "cpu", "gpu": "cuda"}


@dataclass(frozen=True)
class Workforce:
    """What :func:`motion_ray.evaluation.protocol.evaluate` needs.

    Attributes:
        work: answers tasks.
        measured_with: models and settings of whoever works.
        batch_size: questions of a task.
    """

    work: Work
    measured_with: dict[str, Any]
    batch_size: int


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
        evaluator = open_evaluator(settings, store, DEVICES[options.device])
        yield Workforce(in_process(evaluator), evaluator.measured_with(), settings.batch_size)
        return
    with open_cluster(address):
        import ray  # only now: open_cluster sets what it reads while it is imported

        from motion_ray.cluster.evaluating import Crew, RayEvaluators
        from motion_ray.cluster.resources import choose_resources, count_workers

        resources = choose_resources(ray.nodes(), options.device, max(1, options.threads))
        room = count_workers(ray.nodes(), resources)
        workers = room if options.workers is None else options.workers
        if workers > room and address is None:
            raise ConfigError(
                f"--workers {workers}",
                f"this machine holds {room} workers with {resources} each",
                "ask for fewer, for fewer --threads, or join a larger cluster with --address",
            )
        with RayEvaluators(Crew(settings, store, workers, resources)) as evaluators:
            share = -(-questions // (TASKS_A_WORKER * workers))
            size = max(1, min(settings.batch_size, share))
            yield Workforce(evaluators.work, evaluators.measured_with(), size)
