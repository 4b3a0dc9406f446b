"""Evaluators of a reproduction, opened only where something is left to measure.

Loading models on many workers takes longer than reading rows, and a reproduction that is called
again to go on training, or to write its report, has its rows already. Rows that the same evaluators
measured elsewhere are taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from motion_ray.backbones.inflated import PREFIX
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.measurement_files import (
    TABLE,
    MeasurementFolder,
    answered,
    read_table,
    tables_of,
)
from motion_ray.evaluation.tasks import Asked, Task
from motion_ray.evaluation.workforce import OpenWorkforce, Workforce
from motion_ray.files import write_text_atomic

ASSETS = Path(__file__).parent.parent / "assets"
BASE, INFLATED = "base", "inflated"
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
        known: table of rows from elsewhere, or null.
        retry_failed: whether videos that could not be made are to be tried again.
    """

    folder: Path
    settings: EvaluationSettings
    open_workforce: OpenWorkforce
    known: Path | None = None
    retry_failed: bool = False

    def answered(self) -> set[tuple[Any, ...]]:
        """Keys of the questions that have a row, here or elsewhere, and need not be asked again."""
        here = answered(tables_of(self.folder), retry_failed=self.retry_failed)
        return here | self._known_keys

    @cached_property
    def _known_keys(self) -> frozenset[tuple[Any, ...]]:
        return frozenset(answered(self._known_tables, retry_failed=self.retry_failed))

    @property
    def _known_tables(self) -> list[Path]:
        return [] if self.known is None or not self.known.is_file() else [self.known]

    def looked_at(self) -> set[tuple[Any, ...]]:
        """Keys of the questions that have a row, here or elsewhere, failed ones too."""
        return answered([*tables_of(self.folder), *self._known_tables])

    def missing(self, asked: Sequence[Asked]) -> int:
        """How many questions have no row yet."""
        known = self.answered() if asked else ()  # tables are read anew each time
        return sum(each.question.key not in known for each in asked)

    @contextmanager
    def opened(self, asked: Sequence[Asked]) -> Iterator[Workforce]:
        """Whoever answers these questions, while the context lives.

        If all are answered, and settings and models' files are those of then, no model is loaded:
        the rows say what they were measured with.

        Raises:
            MotionRayError: a model cannot be loaded, or rows cannot be read.
        """
        missing, note, opened = self.missing(asked), self.folder / SETTINGS, note_of(self.settings)
        if not missing and note.is_file() and note.read_text() == opened:
            _, measured_with = read_table(self.folder / TABLE)
            self._take_known(measured_with)
            yield Workforce(_nobody, self._film, measured_with, self.settings.batch_size)
            return
        with self.open_workforce(self.settings, missing) as force:
            self._take_known(force.measured_with)
            yield force
        write_text_atomic(note, opened)

    def _take_known(self, measured_with: Mapping[str, Any]) -> None:
        if self.known is not None and self._known_keys:
            fix = "leave --known out; if it says precision, --precision may be what is missing"
            MeasurementFolder(self.folder, measured_with).take(self.known, fix)

    def _film(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Tensor]]]:
        if tasks:
            with self.open_workforce(self.settings, len(tasks)) as force:
                yield from force.film(tasks)


def evaluators_of(
    settings: EvaluationSettings,
    root: Path,
    open_workforce: OpenWorkforce,
    known: Path | None = None,
    *,
    retry_failed: bool = False,
) -> dict[bool, Evaluators]:
    """Those around the base as it is, and around its inflated form, by whether it is inflated.

    Args:
        settings: models to load.
        root: of the reproduction.
        open_workforce: opens evaluators.
        known: folder of rows from elsewhere, or null; see :mod:`motion_ray.reproduction.kept`.
        retry_failed: whether videos that could not be made are to be tried again.
    """
    settings_of = {False: settings, True: replace(settings, base=f"{PREFIX}{settings.base}")}
    found = {}
    for turned, models in settings_of.items():
        name = INFLATED if turned else BASE
        table = None if known is None else known / f"{name}.parquet"
        found[turned] = Evaluators(
            *(_folder(root, name), models, open_workforce, table), retry_failed=retry_failed
        )
    return found


def rows_of(root: Path) -> dict[str, Path]:
    """Tables of rows of a reproduction whose videos were all measured, by the base's form."""
    return {name: _folder(root, name) / TABLE for name in (BASE, INFLATED)}


def _folder(root: Path, name: str) -> Path:
    return root / "evaluation" / name


def note_of(settings: EvaluationSettings) -> str:
    """Settings, and sizes and times of the models' files. A copy of a model makes another note, and
    costs no more than loading it: what decides is by what hashes its rows were measured.
    """
    base = settings.base.removeprefix(PREFIX)
    named = (base, settings.classifier, settings.clip_model, settings.copy_detector)
    found = [repr(settings)]
    for root in (ASSETS, *map(Path, named)):
        for file in sorted(each for each in (root, *root.rglob("*")) if each.is_file()):
            state = file.stat()
            found.append(f"{file} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(found)


def _nobody(tasks: Sequence[Task]) -> Iterable[list[Measurement]]:
    assert not tasks  # all questions were answered before
    return ()
