"""Scoring validations of a sweep beside its training: actors that sample and score all day.

A trial hands over the weights of a step and trains on; the verdict is the one it would have come to
itself (:mod:`motion_ray.customization.deferred`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray

from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.resources import WorkerResources
from motion_ray.config import CustomizationConfig
from motion_ray.errors import MotionRayError

SLOTS_EACH = 8  # slots that share a scorer: a validation takes a fraction of what lies between two
RESTARTS = -1  # as often as its process or node is lost; what it was scoring is scored again


class ScoringActor:
    """Scores what slots hand in, one after another. Runs in an actor.

    Args:
        resources: what the actor was given.
    """

    def __init__(self, resources: WorkerResources) -> None:
        prepare_worker_environment(resources.device, os.environ)
        import torch  # only now: it reads the environment

        from motion_ray.customization.deferred import DeltaScorer
        from motion_ray.customization.models import KeptModels

        torch.set_num_threads(resources.threads)
        self._scorer = DeltaScorer(KeptModels(), "cuda" if resources.device == "gpu" else "cpu")

    def score(self, config: CustomizationConfig, folder: str) -> float | MotionRayError:
        """The score of a delta, or why there is none; not raised, so that Ray does not wrap it."""
        try:
            return self._scorer.score(config, Path(folder))
        except MotionRayError as error:
            return error


class RemoteScorer:
    """A slot's handle on a scoring actor, for one trial.

    Args:
        actor: handle of a :class:`ScoringActor`.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._answer: Any = None

    def submit(self, config: CustomizationConfig, folder: Path) -> None:
        """See :class:`motion_ray.customization.deferred.Scorer`."""
        self._answer = self._actor.score.remote(config, str(folder))

    def score(self, *, wait: bool) -> float | None:
        """See :class:`motion_ray.customization.deferred.Scorer`."""
        ready, _ = ray.wait([self._answer], timeout=None if wait else 0)
        if not ready:
            return None
        answer: float | MotionRayError = ray.get(self._answer)
        if isinstance(answer, MotionRayError):
            raise answer
        return answer


def start_scorers(count: int, resources: WorkerResources) -> list[Any]:
    """Handles of so many scoring actors; each takes the place of a trial."""
    gpus = resources.gpus if resources.device == "gpu" else 0
    actor = ray.remote(ScoringActor).options(
        num_cpus=resources.cpus, num_gpus=gpus, max_restarts=RESTARTS, max_task_retries=RESTARTS
    )
    return [actor.remote(resources) for _ in range(count)]
