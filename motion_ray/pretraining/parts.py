"""A long array on disk in parts: each appears whole or not at all, and is read by memory map.

Drawing and encoding a world takes hours where cores are few. A part that is there is never made
again, several processes can make parts at once, and training reads single rows without loading the
rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion_ray.errors import RunFolderError
from motion_ray.files import atomic_directory
from motion_ray.manifest import verify_manifest

DATA = "data.npy"


class LongArray:
    """Arrays that follow each other along the first dimension.

    Args:
        arrays: equal in everything but their length; usually memory maps.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = list(arrays)
        self._starts = np.cumsum([0, *(len(array) for array in arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self._arrays[0].shape[1:]

    def take(self, rows: Tensor, inner: Tensor | None = None) -> Tensor:
        """Some rows, copied into memory.

        Args:
            rows: int64 ``[b]``.
            inner: int64 ``[b]``: of each row only this index of its first dimension.
        """
        numbers = rows.numpy()
        parts = np.searchsorted(self._starts, numbers, side="right") - 1
        places = numbers - self._starts[parts]
        if inner is None:
            chosen = [self._arrays[part][place] for part, place in zip(parts, places, strict=True)]
        else:
            chosen = [
                self._arrays[part][place, index]
                for part, place, index in zip(parts, places, inner.numpy(), strict=True)
            ]
        return torch.from_numpy(np.stack(chosen))


@dataclass(frozen=True)
class Parts:
    """Where a long array lies.

    Attributes:
        folder: holds a folder for each part.
        rows: of the whole array.
        rows_per_part: the last part may be shorter.
    """

    folder: Path
    rows: int
    rows_per_part: int

    @property
    def count(self) -> int:
        """Number of parts."""
        return math.ceil(self.rows / self.rows_per_part)

    def rows_of(self, number: int) -> range:
        """Rows of a part."""
        start = number * self.rows_per_part
        return range(start, min(start + self.rows_per_part, self.rows))

    def at(self, number: int) -> Path:
        """Folder of a part."""
        return self.folder / f"part-{number:05d}"

    def missing(self) -> list[int]:
        """Parts that are not there yet."""
        return [number for number in range(self.count) if not self.at(number).exists()]

    def write(self, number: int, data: np.ndarray, texts: Mapping[str, str] | None = None) -> None:
        """Make a part.

        Args:
            number: which.
            data: its rows.
            texts: file name to content, kept beside the rows.

        Raises:
            RunFolderError: the disk is full, or the part is there already.
        """
        with atomic_directory(self.at(number), RunFolderError, expected_bytes=data.nbytes) as part:
            np.save(part / DATA, data)
            for name, text in (texts or {}).items():
                (part / name).write_text(text)

    def verify(self) -> None:
        """Compare every part with its manifest.

        Raises:
            RunFolderError: one is missing or damaged.
        """
        for number in range(self.count):
            verify_manifest(self.at(number), RunFolderError)

    def open(self) -> LongArray:
        """All rows, as memory maps."""
        return LongArray(
            [np.load(self.at(number) / DATA, mmap_mode="r") for number in range(self.count)]
        )

    def texts(self, name: str) -> list[str]:
        """One text of every part, in order."""
        return [(self.at(number) / name).read_text() for number in range(self.count)]
