"""Rows of an evaluation on disk: parquet, resumable after a kill at any moment.

``rows.parquet`` is the table; while an evaluation runs, every finished batch is a small file of its
own in ``rows/``, since a parquet file cannot be added to. Reading takes both. The file's metadata
say what the rows were measured with; rows of other motions may be added, rows measured otherwise
may not.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motion_ray.errors import RunFolderError
from motion_ray.evaluation.measurement import Measurement, Question
from motion_ray.files import remove_directory, write_bytes_atomic

FORMAT = "motion_ray.measurements/1"
TABLE, PARTS = "rows.parquet", "rows"
_KEY = b"motion_ray"
_TEXTS = (
    *("part", "motion", "label", "text", "appearance_text", "natural_text"),
    *("reference", "delta", "recipe", "training", "kind", "colour", "place", "failure"),
    *("said", "said_reversed", "said_shuffled", "seen_kind", "seen_colour", "seen_place"),
)
_NUMBERS = ("prompt", "seed", "step", "training_seed")
_NEAREST = ("frame", "clip", "clip_frame")
_SCORES = ("consistency", "appearance", "alignment", "fidelity")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.int64()) for name in _NUMBERS),
        ("probabilities", pa.list_(pa.float64())),
        ("embedding", pa.list_(pa.float64())),
        *((name, pa.float64()) for name in _SCORES),
        *((f"{which}_score", pa.float64()) for which in ("copy_any", "copy_first")),
        *(
            (f"{which}_{name}", pa.int64())
            for which, name in itertools.product(("copy_any", "copy_first"), _NEAREST)
        ),
    ]
)


def write_table(
    path: Path, measurements: Iterable[Measurement], measured_with: Mapping[str, Any]
) -> None:
    """Write rows as one parquet file, durably.

    Raises:
        RunFolderError: the disk is full, broken or read-only.
    """
    table = pa.Table.from_pylist([each.to_row() for each in measurements], schema=SCHEMA)
    header = {"format": FORMAT, "measured_with": measured_with}
    table = table.replace_schema_metadata({_KEY: json.dumps(header, allow_nan=False).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes_atomic(path, buffer.getvalue(), RunFolderError)


def read_table(path: Path) -> tuple[list[Measurement], dict[str, Any]]:
    """The rows of a parquet file, and what they were measured with.

    Raises:
        RunFolderError: it cannot be read, or holds something else.
    """
    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        header = json.loads((table.schema.metadata or {})[_KEY])
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}")
        rows = [Measurement.from_row(row) for row in table.to_pylist()]
        return rows, header["measured_with"]
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            str(path), f"holds no rows of an evaluation: {error}", "name another folder"
        ) from None


def answered(files: Iterable[Path], *, retry_failed: bool = False) -> set[tuple[Any, ...]]:
    """Keys of the questions whose rows some tables hold, whatever they were measured with.

    Args:
        files: parquet files.
        retry_failed: whether to leave out videos that could not be made.

    Raises:
        RunFolderError: a file holds no rows of an evaluation.
    """
    rows = (row for file in files for row in read_table(file)[0])
    return {row.question.key for row in rows if not (retry_failed and row.failure)}


def tables_of(root: Path) -> list[Path]:
    """The parquet files of an evaluation's folder, the whole table before what came after it."""
    return [*root.glob(TABLE), *sorted((root / PARTS).glob("*.parquet"))]


def differences(found: Mapping[str, Any], measured_with: Mapping[str, Any]) -> list[str]:
    """Names of the models and settings in which rows differ from what measures now."""
    now = json.loads(json.dumps(measured_with))  # as it would have been read
    return [n for n in sorted(found.keys() | now.keys()) if found.get(n) != now.get(n)]


class MeasurementFolder:
    """Rows of an evaluation that may be interrupted; one process at a time writes to it.

    Args:
        root: the evaluation's folder; made by the first :meth:`add`.
        measured_with: all models and settings that a row depends on besides its question.

    Raises:
        RunFolderError: it holds rows that were measured with something else, or other data.
    """

    def __init__(self, root: Path, measured_with: Mapping[str, Any]) -> None:
        self.root = root
        self.measured_with: dict[str, Any] = json.loads(json.dumps(measured_with))
        self._rows: dict[tuple[Any, ...], Measurement] = {}
        for path in tables_of(root):
            rows, found = read_table(path)
            self._check(path, found)
            self._rows |= {row.question.key: row for row in rows}

    def _check(
        self, path: Path, found: Mapping[str, Any], fix: str = "name another folder"
    ) -> None:
        differing = differences(found, self.measured_with)
        if differing:
            raise RunFolderError(
                str(path),
                f"was measured with other models or settings ({', '.join(differing)})",
                fix,
            )

    def take(self, path: Path, fix: str) -> None:
        """Keep the rows of a table from elsewhere that answer other questions than those here.

        Args:
            path: of a parquet file.
            fix: what to do if it cannot be taken.

        Raises:
            RunFolderError: it holds no rows, or such as were measured with something else.
        """
        rows, found = read_table(path)
        self._check(path, found, fix)
        new = [row for row in rows if row.question.key not in self._rows]
        if new:
            self.add(new)

    def add(self, rows: Sequence[Measurement]) -> None:
        """Keep rows durably, in a file of their own.

        Raises:
            RunFolderError: the disk is full, broken or read-only.
        """
        number = len(list((self.root / PARTS).glob("*.parquet")))
        path = self.root / PARTS / f"{number:06d}-{os.getpid()}.parquet"
        write_table(path, rows, self.measured_with)
        self._rows |= {row.question.key: row for row in rows}

    def of(self, questions: Iterable[Question]) -> list[Measurement]:
        """The rows that answer these questions, in their order; those without a row are left out.

        A row tells of the question as it is asked now: a delta may have a new name.
        """
        found = [(each, self._rows.get(each.key)) for each in questions]
        return [Measurement(each, row.scores, row.failure) for each, row in found if row]

    def close(self) -> Path:
        """Put all rows into one table and remove the small files; returns the table's path.

        A kill in between leaves rows in both, which reads as the same rows.

        Raises:
            RunFolderError: the disk is full, broken or read-only.
        """
        path, parts = self.root / TABLE, self.root / PARTS
        write_table(path, self._rows.values(), self.measured_with)
        if parts.is_dir():
            remove_directory(parts)
        return path
