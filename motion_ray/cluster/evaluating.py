"""An evaluation on a Ray cluster: actors that hold the models and answer tasks as they come free.

What an actor does is :meth:`motion_ray.evaluation.evaluator.Evaluator.work`; rows come back to the
driver, the only one that writes. A lost actor's task goes to a new one, a bounded number of times;
after that its videos count as failed, since one of them may be what kills. **On a cluster of
several machines the store, the models and the folders of clips have to be where all see them.**
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import ray
import ray.exceptions
from ray.actor import exit_actor

from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.first_line import first_line
from motion_ray.cluster.resources import WorkerResources
from motion_ray.errors import ConfigError, DeviceError, MotionRayError
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.tasks import Task, failed
from motion_ray.precision import WORDS

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

ATTEMPTS = 2  # at one task, if its actor is lost


@dataclass(frozen=True)
class Crew:
    """How many evaluators work, and what each is.

    Attributes:
        settings: of the models; paths are absolute.
        store: path or URI of the deltas; a path is absolute.
        workers: how many actors.
        resources: of each.
    """

    settings: EvaluationSettings
    store: str
    workers: int
    resources: WorkerResources


class EvaluationActor:
    """One evaluator in a process of its own.

    An error that would come again is returned, not raised: Ray would wrap it into one of its own.

    Args:
        crew: it belongs to.
    """

    def __init__(self, crew: Crew) -> None:
        prepare_worker_environment(crew.resources.device, os.environ)
        import torch  # only now: it reads the environment

        from motion_ray.evaluation.evaluator import open_evaluator

        device = "cuda" if crew.resources.device == "gpu" else "cpu"
        torch.set_num_threads(crew.resources.threads)
        self._failure: MotionRayError | None = None
        try:
            self._evaluator = open_evaluator(crew.settings, crew.store, device)
        except MotionRayError as error:
            self._failure = error

    def work(self, task: Task) -> list[Measurement] | MotionRayError:
        """Answer a task."""
        if self._failure is not None:
            return self._failure
        try:
            return self._evaluator.work(task)
        except DeviceError as error:
            logger.error("%s", error)
            exit_actor()  # another takes its place, and this task
            raise
        except MotionRayError as error:
            return error

    def film(self, task: Task) -> list[Tensor] | MotionRayError:
        """Make the videos of a task, uint8 ``[f, 3, h, w]`` each."""
        if self._failure is not None:
            return self._failure
        try:
            return [video.cpu() for video in self._evaluator.videos(task)]
        except MotionRayError as error:
            return error

    def process(self) -> int:
        """Its process id."""
        return os.getpid()

    def measured_with(self) -> dict[str, Any] | MotionRayError:
        """What rows depend on besides their questions."""
        return self._failure or self._evaluator.measured_with()


@dataclass
class _Place:
    """A seat for an actor; whoever sits there may be replaced."""

    actor: Any


@dataclass
class _Job:
    task: Task
    attempts: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Lost:
    """No answer to a task: every actor that tried was lost."""

    reason: str


class RayEvaluators:
    """Actors on the connected cluster, used in a ``with`` block that ends them.

    Args:
        crew: how many, and what.

    Raises:
        ConfigError: no workers are asked for.
    """

    def __init__(self, crew: Crew) -> None:
        if crew.workers < 1:
            raise ConfigError("--workers", f"at least one, got {crew.workers}", "for example 2")
        self._crew = crew
        self._places: list[_Place] = []

    def __enter__(self) -> RayEvaluators:
        self._places = [_Place(self._hire())]
        if self._crew.workers > 1:
            self._settle()
        self._places += [_Place(self._hire()) for _ in range(self._crew.workers - 1)]
        return self

    def _settle(self) -> None:
        """Have all actors compute as the first does: CPUs of other machines may choose otherwise.

        What keeps the first from working is told by :meth:`measured_with`.
        """
        settings = self._crew.settings
        if settings.precision != "auto" or self._crew.resources.device == "gpu":
            return
        try:
            word = WORDS[self.measured_with()["precision"]]
        except MotionRayError:
            return
        self._crew = replace(self._crew, settings=replace(settings, precision=word))

    def __exit__(self, *exception: object) -> None:
        for place in self._places:
            ray.kill(place.actor)
        self._places = []

    def measured_with(self) -> dict[str, Any]:
        """Models and settings of the evaluators.

        Raises:
            MotionRayError: one cannot be loaded.
        """
        try:
            return _raised(ray.get(self._places[0].actor.measured_with.remote()))
        except ray.exceptions.RayError as error:
            raise MotionRayError(
                "evaluation", f"no worker could start: {first_line(error)}", "see Ray's logs"
            ) from error

    def processes(self) -> list[int]:
        """Process ids of the actors, to find them on their machines."""
        return ray.get([place.actor.process.remote() for place in self._places])

    def work(self, tasks: Sequence[Task]) -> Iterator[list[Measurement]]:
        """Answer tasks, yielding each as it is done.

        Raises:
            MotionRayError: what another try would meet again.
        """
        for task, answer in self._answers("work", tasks):
            yield failed(task, answer.reason) if isinstance(answer, _Lost) else answer

    def film(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Tensor]]]:
        """Make the videos of tasks, yielding each task's as they are done.

        Raises:
            MotionRayError: what another try would meet again; or all workers of a task were lost.
        """
        for task, answer in self._answers("film", tasks):
            if isinstance(answer, _Lost):
                raise MotionRayError("videos", answer.reason, "run the same command again")
            yield task, answer

    def _answers(
        self, method: Literal["work", "film"], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Any]]:
        """What an actor's method says about each task, or that its actors were lost."""
        waiting = deque(_Job(task) for task in tasks)
        running: dict[Any, tuple[_Place, _Job]] = {}
        idle = list(self._places)
        while waiting or running:
            while waiting and idle:
                place, job = idle.pop(), waiting.popleft()
                job.attempts += 1
                running[getattr(place.actor, method).remote(job.task)] = place, job
            ready, _ = ray.wait(list(running), num_returns=1)
            place, job = running.pop(ready[0])
            idle.append(place)
            try:
                yield job.task, _raised(ray.get(ready[0]))
            except ray.exceptions.RayTaskError:
                raise  # a fault of the program; another try would meet it again
            except ray.exceptions.RayError as error:
                job.errors.append(first_line(error))
                logger.warning("an evaluation worker was lost: %s", job.errors[-1])
                ray.kill(place.actor)
                place.actor = self._hire()
                if job.attempts < ATTEMPTS:
                    waiting.appendleft(job)
                else:
                    yield job.task, _Lost(f"the worker was lost: {job.errors[-1]}")

    def _hire(self) -> Any:
        resources = self._crew.resources
        wanted = resources.as_ray()
        actor = ray.remote(EvaluationActor).options(
            num_cpus=wanted["CPU"], num_gpus=wanted.get("GPU", 0)
        )
        return actor.remote(self._crew)


def _raised(answer: Any) -> Any:
    if isinstance(answer, MotionRayError):
        raise answer
    return answer
