"""The disk tier: what was loaded once is near, within its budget, and never wrong."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import torch

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError, RunFolderError
from motion_ray.manifest import plain_files
from motion_ray.serving.sources import DiskCache
from motion_ray.serving.tier import OVERHEAD
from tests.disks import small_disk
from tests.faults import Faults, injected
from tests.serving.toy import toy_delta

BUDGET = 10**6


def folders(place: Path) -> set[str]:
    return {entry.name for entry in place.iterdir() if entry.is_dir()}


def test_a_delta_is_fetched_once(library, tmp_path):
    record = library.add(toy_delta(1))
    cache = DiskCache(library, tmp_path / "near", BUDGET)
    for _ in range(3):
        found = cache.load(record)
        assert found.sha256 == record.sha256
        assert torch.equal(found.tensors["a"], toy_delta(1).tensors["a"])
    assert len(library.loads) == 1
    counts = cache.statistics()
    assert (counts.hits, counts.misses, counts.loads, counts.held) == (2, 1, 1, 0)


def test_what_an_earlier_process_left_is_used(library, tmp_path):
    record = library.add(toy_delta(1))
    first = DiskCache(library, tmp_path, BUDGET)
    first.load(record)
    first.close()
    (tmp_path / ".wave~elsewhere-1~1~1~0a.tmp").mkdir()
    (tmp_path / "notes").mkdir()
    second = DiskCache(library, tmp_path, BUDGET)
    assert second.load(record).sha256 == record.sha256
    assert len(library.loads) == 1
    assert folders(tmp_path) >= {record.sha256, "notes"}


def test_a_folder_belongs_to_one_process(library, tmp_path):
    first = DiskCache(library, tmp_path, BUDGET)
    with pytest.raises(RunFolderError, match="another process"):
        DiskCache(library, tmp_path, BUDGET)
    first.close()
    DiskCache(library, tmp_path, BUDGET).close()


def test_the_budget_holds_and_a_smaller_one_removes(library, tmp_path):
    records = [library.add(toy_delta(seed)) for seed in range(5)]
    size = records[0].nbytes + OVERHEAD
    cache = DiskCache(library, tmp_path, 3 * size)
    for record in records:
        cache.load(record)
        assert cache.statistics().used <= 3 * size
    assert len(folders(tmp_path)) == 3
    cache.close()
    onfile = sum(plain_files(next(tmp_path.glob("[0-9a-f]*")), DeltaError).values()) + OVERHEAD
    DiskCache(library, tmp_path, onfile + 10).close()
    assert len(folders(tmp_path)) == 1


def test_a_damaged_copy_is_fetched_again(library, tmp_path, caplog):
    record = library.add(toy_delta(1))
    cache = DiskCache(library, tmp_path, BUDGET)
    cache.load(record)
    file = tmp_path / record.sha256 / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert torch.equal(cache.load(record).tensors["a"], toy_delta(1).tensors["a"])
    assert "is damaged" in caplog.text and len(library.loads) == 2
    cache.load(record)
    assert len(library.loads) == 2


def test_a_copy_that_somebody_removed_is_fetched_again(library, tmp_path):
    record = library.add(toy_delta(1))
    cache = DiskCache(library, tmp_path, BUDGET)
    cache.load(record)
    for file in (tmp_path / record.sha256).iterdir():
        file.unlink()
    assert cache.load(record).sha256 == record.sha256


def test_what_is_too_large_is_used_and_not_kept(library, tmp_path):
    record = library.add(toy_delta(1))
    cache = DiskCache(library, tmp_path, 100)
    for _ in range(2):
        assert cache.load(record).sha256 == record.sha256
    assert len(library.loads) == 2 and folders(tmp_path) == set()


def test_a_full_disk_does_not_stop_serving(library, caplog):
    record = library.add(toy_delta(1))
    with small_disk(1) as disk:
        cache = DiskCache(library, disk / "near", BUDGET)
        with (
            (disk / "filler").open("wb", buffering=0) as filler,
            pytest.raises(OSError, match="No space"),
        ):
            while True:
                filler.write(b"\0" * 4096)
        assert cache.load(record).sha256 == record.sha256
        assert cache.statistics().entries == 0
        assert "not kept on disk" in caplog.text
        cache.close()


# --- a folder that is removed or taken while the server runs --------------------------------------


def test_a_folder_that_somebody_removed_is_made_again(library, tmp_path):
    records = [library.add(toy_delta(seed)) for seed in range(3)]
    cache = DiskCache(library, tmp_path / "near", BUDGET)
    cache.load(records[0])
    shutil.rmtree(tmp_path / "near")
    for record in records:
        assert cache.load(record).sha256 == record.sha256
    assert folders(tmp_path / "near") == {record.sha256 for record in records}
    loads = len(library.loads)
    for record in records:
        cache.load(record)
    assert len(library.loads) == loads
    with pytest.raises(RunFolderError, match="another process"):
        DiskCache(library, tmp_path / "near", BUDGET)


def test_what_cannot_be_removed_leaves_no_reservation_behind(library, tmp_path):
    records = [library.add(toy_delta(seed)) for seed in range(3)]
    cache = DiskCache(library, tmp_path / "near", records[0].nbytes + OVERHEAD)
    cache.load(records[0])
    shutil.rmtree(tmp_path / "near")
    for record in records[1:]:
        assert cache.load(record).sha256 == record.sha256
        counts = cache.statistics()
        assert (counts.entries, counts.held, counts.used) == (1, 0, counts.budget)


@pytest.mark.parametrize("call", ["rename", "mkdir", "fsync"])
def test_a_broken_disk_does_not_stop_serving(library, tmp_path, call):
    records = [library.add(toy_delta(seed)) for seed in range(3)]
    cache = DiskCache(library, tmp_path, records[0].nbytes + OVERHEAD)
    cache.load(records[0])
    with injected(Faults(1, errno.EIO, lasting=True), (call,)):
        for record in records:
            assert cache.load(record).sha256 == record.sha256
    assert cache.statistics().held == 0
    for record in records[1:]:
        cache.load(record)
    assert cache.statistics().entries == 1


def test_a_mistake_while_keeping_leaves_no_reservation(library, tmp_path, monkeypatch):
    record = library.add(toy_delta(1))
    cache = DiskCache(library, tmp_path, BUDGET)

    def broken(*args: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(MotionDelta, "save", broken)
        with pytest.raises(MemoryError):
            cache.load(record)
    assert cache.statistics().used == 0
    cache.load(record)
    assert cache.statistics().entries == 1


def test_a_folder_that_another_process_took_is_left_to_it(library, tmp_path, caplog):
    record = library.add(toy_delta(1))
    near = tmp_path / "near"
    first = DiskCache(library, near, BUDGET)
    shutil.rmtree(near)
    second = DiskCache(library, near, BUDGET)
    assert first.load(record).sha256 == record.sha256
    assert "not kept on disk" in caplog.text and folders(near) == set()
    assert first.statistics().used == 0
    second.close()
    first.load(record)
    assert folders(near) == {record.sha256}
