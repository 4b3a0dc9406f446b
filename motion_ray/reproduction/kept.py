"""What a reproduction leaves to others: what became of its cells, its rows, a few of its videos.

Deltas, the bulk of a reproduction, stay behind. So what is kept is small enough to commit, tables
can be computed from it again, and another machine can go on from it: a cell is known by the hash of
its settings and data (:mod:`motion_ray.sweeps.identity`), in which there are no paths.

Drawn clips come along: an encoder may write other bytes another time, and other bytes are other
data. A folder ``kept/`` has ``cells.json``, ``base.parquet`` and ``inflated.parquet`` (rows),
``clips/`` and ``videos/``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from motion_ray.errors import RunFolderError
from motion_ray.evaluation.measurement_files import differences, read_table, write_table
from motion_ray.files import write_bytes_atomic, write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.reproduction.calls import Call
from motion_ray.reproduction.clips import DRAWN
from motion_ray.reproduction.evaluators import rows_of
from motion_ray.reproduction.looking import VIDEOS
from motion_ray.reproduction.record import Ended, Failed, Learned, Trained
from motion_ray.temporaries import is_temporary, temporary_name

FOLDER, CELLS = "kept", "cells.json"
FORMAT = "motion_ray.reproduction/1"


@dataclass(frozen=True)
class Kept:
    """What was read.

    Attributes:
        folder: it was read from; null: there is nothing.
        cells: what became of each, by identity.
        calls: that made them, oldest first.
    """

    folder: Path | None = None
    cells: Mapping[str, Ended] = field(default_factory=dict)
    calls: Sequence[Call] = ()


def keep(
    folder: Path,
    root: Path,
    ends: Sequence[Trained | Failed],
    videos: Sequence[Path],
    calls: Sequence[Call],
) -> None:
    """Leave a reproduction to others. What is kept there of other cells stays.

    Args:
        folder: made if need be.
        root: of the reproduction.
        ends: what became of its cells.
        videos: files under ``root / "videos"`` to bring along.
        calls: that made it; those of the folder are among them if it was taken over.

    Raises:
        MotionRayError: a file cannot be written, or what is there cannot be read.
    """
    before = read_kept(folder) if (folder / CELLS).is_file() else Kept()
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in rows_of(root).items():
        if source.is_file():
            _keep_rows(folder / f"{name}.parquet", source)
    _copy_folders(root / DRAWN, folder / DRAWN)
    for file in videos:
        copy = folder / file.relative_to(root)
        write_bytes_atomic(copy, file.read_bytes(), RunFolderError)
    told = {call.key: call for call in (*before.calls, *calls)}
    cells = {**before.cells, **{each.identity: _ended(each) for each in ends}}
    content = {
        "format": FORMAT,
        "calls": [asdict(told[key]) for key in sorted(told)],
        "cells": {identity: asdict(end) for identity, end in cells.items()},
    }
    # Last: cells without rows would be measured again, but their deltas are not here.
    write_text_atomic(folder / CELLS, canonical_json(content))


def read_kept(folder: Path) -> Kept:
    """Read what was kept.

    Raises:
        RunFolderError: there is nothing, or something else.
    """
    path = folder / CELLS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}")
        cells = {identity: _end(told) for identity, told in content["cells"].items()}
        return Kept(folder, cells, [Call(**told) for told in content["calls"]])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            str(path),
            f"holds no cells of a reproduction: {error}",
            "name what --publish wrote, e.g. --known docs/results",
        ) from None


def bring(kept: Kept, root: Path) -> None:
    """Put clips and videos of what was kept where a reproduction has its own, if it has none.

    Raises:
        RunFolderError: the disk is full, broken or read-only.
    """
    if kept.folder is None:
        return
    _copy_folders(kept.folder / DRAWN, root / DRAWN)
    for file in sorted((kept.folder / VIDEOS).rglob("*.mp4")):
        copy = root / file.relative_to(kept.folder)
        if not copy.exists():
            write_bytes_atomic(copy, file.read_bytes(), RunFolderError)


def _copy_folders(source: Path, target: Path) -> None:
    """Each folder in one, whole or not at all, unless it is there."""
    for folder in sorted(source.iterdir()) if source.is_dir() else ():
        if is_temporary(folder.name) or (target / folder.name).exists():
            continue
        copy = target / temporary_name(folder.name)
        try:
            shutil.copytree(folder, copy)
            copy.rename(target / folder.name)
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _keep_rows(path: Path, source: Path) -> None:
    """Rows of here and those of the folder; a video that could not be made is no reason to forget
    what was measured on it before.
    """
    rows, measured_with = read_table(source)
    kept = {row.question.key: row for row in rows}
    if path.is_file():
        before, found = read_table(path)
        differing = differences(found, measured_with)
        if differing:
            # Its cells would be without rows, and their deltas are not here to be looked at again.
            rule = f"was measured with other models or settings ({', '.join(differing)})"
            raise RunFolderError(str(path), rule, "publish into another folder")
        known = {row.question.key: row for row in before}
        kept = known | {key: row for key, row in kept.items() if row.scores or key not in known}
    write_table(path, kept.values(), measured_with)


def _ended(end: Trained | Failed) -> Ended:
    if isinstance(end, Failed):
        return Ended({}, end.reason)
    return Ended(end.deltas, end.stopped, round(end.seconds, 1))


def _end(told: Mapping[str, Any]) -> Ended:
    deltas = {int(step): Learned(**delta) for step, delta in told["deltas"].items()}
    ordered = dict(sorted(deltas.items()))
    return Ended(ordered, str(told["reason"]), float(told["seconds"]))
