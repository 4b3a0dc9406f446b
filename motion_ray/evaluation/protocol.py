"""The whole protocol of an evaluation: questions, workers, rows that survive a kill.

Who works is the caller's: one evaluator in this process (:func:`in_process`), or several on a
cluster (:mod:`motion_ray.cluster.evaluating`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from motion_ray.errors import ConfigError
from motion_ray.evaluation.evaluator import Evaluator
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.measurement_files import MeasurementFolder
from motion_ray.evaluation.tasks import Asked, Task, batches
from motion_ray.locks import only_process

logger = logging.getLogger(__name__)

Work = Callable[[Sequence[Task]], Iterable[list[Measurement]]]
"""Answers tasks, in any order, as they are done."""
OnProgress = Callable[[int, int], None]
"""Called with videos done and their total."""


def in_process(evaluator: Evaluator) -> Work:
    """One evaluator after another task."""

    def work(tasks: Sequence[Task]) -> Iterator[list[Measurement]]:
        return map(evaluator.work, tasks)

    return work


def evaluate(
    asked: Sequence[Asked],
    work: Work,
    out: Path,
    measured_with: dict[str, Any],
    *,
    batch_size: int,
    retry_failed: bool = False,
    on_progress: OnProgress | None = None,
) -> list[Measurement]:
    """Answer all questions; what is answered in the folder already is not done again.

    Args:
        asked: see :func:`~motion_ray.evaluation.tasks.ask_all`.
        work: see :func:`in_process`.
        out: folder of the rows.
        measured_with: models and settings, of the evaluators that work.
        batch_size: questions of a task.
        retry_failed: whether to try videos again that could not be made before.
        on_progress: told after every task.

    Returns:
        A row for every question, in order.

    Raises:
        ConfigError: the motion classifier does not know what should be recognised.
        RunFolderError: the folder holds other rows, or cannot be written.
        FolderBusyError: another process evaluates into it.
        MotionRayError: a failure that another try would meet again.
    """
    _check_labels(asked, measured_with["classes"])
    out.mkdir(parents=True, exist_ok=True)
    with only_process(out, "--out"):
        rows = MeasurementFolder(out, measured_with)
        questions = [each.question for each in asked]
        done = {
            row.question.key for row in rows.of(questions) if not (retry_failed and row.failure)
        }
        missing = [each for each in asked if each.question.key not in done]
        count = len(asked) - len(missing)
        if on_progress is not None:
            on_progress(count, len(asked))
        for found in work(batches(missing, batch_size)):
            rows.add(found)
            count += len(found)
            if on_progress is not None:
                on_progress(count, len(asked))
        rows.close()
        return rows.of(questions)


def _check_labels(asked: Sequence[Asked], known: Sequence[str]) -> None:
    for label in dict.fromkeys(each.question.label for each in asked):
        if label not in known:
            raise ConfigError(
                f"class {label!r}",
                "the motion classifier does not know it",
                f"one of: {', '.join(known)}",
            )
