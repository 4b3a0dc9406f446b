"""Evaluators of a reproduction, opened only where something is left to measure.

Loading models on many workers takes longer than reading rows, and a reproduction that is called
again to go on training, or to write its report, has its rows already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from motion_ray.backbones.inflated import PREFIX
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.measurement_files import TABLE, answered, read_table
from motion_ray.evaluation.tasks import Asked, Task
from motion_ray.evaluation.workforce import OpenWorkforce, Workforce
from motion_ray.files import write_text_atomic

SETTINGS = (
    "settings.txt"  # beside the rows: what the evaluators that measured them were opened with
)


@dataclass(frozen=True)
class Evaluators:
    """Evaluators around a base, and where their rows lie.

    Attributes:
        folder: of the rows.
        settings: models to load.
        open_workforce: opens evaluators.
    """

    folder: Path
    settings: EvaluationSettings
    open_workforce: OpenWorkforce

    def missing(self, asked: Sequence[Asked]) -> int:
        """How many questions have no row yet."""
        known = answered(self.folder)
        return sum(each.question.key not in known for each in asked)

    @contextmanager
    def opened(self, asked: Sequence[Asked]) -> Iterator[Workforce]:
        """Whoever answers these questions, while the context lives.

        If all are answered and the settings are those of then, no model is loaded: the rows say
        what they were measured with.

        Raises:
            MotionRayError: a model cannot be loaded, or rows cannot be read.
        """
        missing, note = self.missing(asked), self.folder / SETTINGS
        if not missing and note.is_file() and note.read_text() == repr(self.settings):
            _, measured_with = read_table(self.folder / TABLE)
            yield Workforce(_nobody, self._film, measured_with, self.settings.batch_size)
            return
        with self.open_workforce(self.settings, missing) as force:
            yield force
        write_text_atomic(note, repr(self.settings))

    def _film(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Tensor]]]:
        if tasks:
            with self.open_workforce(self.settings, len(tasks)) as force:
                yield from force.film(tasks)


def evaluators_of(
    settings: EvaluationSettings, root: Path, open_workforce: OpenWorkforce
) -> dict[bool, Evaluators]:
    """Those around the base as it is, and around its inflated form, by whether it is inflated.

    Args:
        settings: models to load.
        root: of the reproduction.
        open_workforce: opens evaluators.
    """
    inflated = replace(settings, base=f"{PREFIX}{settings.base}")
    return {
        False: Evaluators(root / "evaluation" / "base", settings, open_workforce),
        True: Evaluators(root / "evaluation" / "inflated", inflated, open_workforce),
    }


def _nobody(tasks: Sequence[Task]) -> Iterable[list[Measurement]]:
    assert not tasks  # all questions were answered before
    return ()
