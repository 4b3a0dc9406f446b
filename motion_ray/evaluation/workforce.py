"""Who answers the questions of an evaluation and makes its videos: one evaluator here, or many.

This is the whole contract between what is asked and where it is worked on;
:mod:`motion_ray.cluster.evaluating` fulfils it on a cluster. Shapes: f frames, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from motion_ray.evaluation.evaluator import EvaluationSettings, open_evaluator
from motion_ray.evaluation.protocol import Work, in_process
from motion_ray.evaluation.tasks import Task

Film = Callable[[Sequence[Task]], Iterable[tuple[Task, list[Tensor]]]]
"""Makes the videos of tasks, uint8 ``[f, 3, h, w]`` each; in any order, as they are done."""


@dataclass(frozen=True)
class Workforce:
    """Evaluators that are ready.

    Attributes:
        work: answers tasks.
        film: makes the videos of tasks, for people to look at.
        measured_with: models and settings of whoever works.
        batch_size: questions of a task.
    """

    work: Work
    film: Film
    measured_with: dict[str, Any]
    batch_size: int


OpenWorkforce = Callable[[EvaluationSettings, int], AbstractContextManager[Workforce]]
"""Called with the models to load and the number of questions that there will be about."""


@contextmanager
def one_here(settings: EvaluationSettings, store: str, device: str | None) -> Iterator[Workforce]:
    """One evaluator in this process.

    Args:
        settings: models to load.
        store: path or URI of the deltas.
        device: null takes the GPU if there is one.

    Raises:
        MotionRayError: a model cannot be loaded.
    """
    evaluator = open_evaluator(settings, store, device)

    def film(tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Tensor]]]:
        return ((task, list(evaluator.videos(task))) for task in tasks)

    measured_with = evaluator.measured_with()
    yield Workforce(in_process(evaluator), film, measured_with, settings.batch_size)
