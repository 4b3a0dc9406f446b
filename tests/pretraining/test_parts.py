"""Long arrays in parts: whole or not there, and read row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motion_ray.errors import RunFolderError
from motion_ray.pretraining.parts import DATA, LongArray, Parts


def filled(folder: Path) -> tuple[Parts, np.ndarray]:
    whole = np.arange(11 * 3 * 2, dtype=np.int16).reshape(11, 3, 2)
    parts = Parts(folder, rows=11, rows_per_part=4)
    for number in (2, 0, 1):
        rows = parts.rows_of(number)
        parts.write(number, whole[rows.start : rows.stop], {"note.txt": f"part {number}"})
    return parts, whole


def test_rows_are_those_that_were_written_wherever_they_lie(tmp_path: Path) -> None:
    parts, whole = filled(tmp_path)
    array = parts.open()
    assert (len(array), array.row_shape, parts.count) == (11, (3, 2), 3)
    rows = torch.tensor([10, 0, 3, 4, 7, 8, 3])
    assert np.array_equal(array.take(rows).numpy(), whole[rows.numpy()])
    inner = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    assert np.array_equal(array.take(rows, inner).numpy(), whole[rows.numpy(), inner.numpy()])
    assert parts.texts("note.txt") == ["part 0", "part 1", "part 2"]


def test_rows_are_copies_that_may_be_changed(tmp_path: Path) -> None:
    parts, whole = filled(tmp_path)
    parts.open().take(torch.tensor([1])).zero_()
    assert np.array_equal(parts.open().take(torch.tensor([1])).numpy(), whole[1:2])


def test_what_is_missing_is_known(tmp_path: Path) -> None:
    parts = Parts(tmp_path, rows=11, rows_per_part=4)
    assert parts.missing() == [0, 1, 2]
    parts.write(1, np.zeros((4, 2)))
    assert parts.missing() == [0, 2]
    with pytest.raises(RunFolderError, match="already exists"):
        parts.write(1, np.zeros((4, 2)))
    with pytest.raises(RunFolderError, match="part-00000"):
        parts.verify()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    parts, _ = filled(tmp_path)
    parts.verify()
    file = parts.at(1) / DATA
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunFolderError, match=r"part-00001.*damaged"):
        parts.verify()


def test_arrays_of_any_lengths_follow_each_other() -> None:
    array = LongArray([np.array([[0], [1]]), np.zeros((0, 1), dtype=int), np.array([[2]])])
    assert array.take(torch.tensor([2, 1, 0])).flatten().tolist() == [2, 1, 0]
