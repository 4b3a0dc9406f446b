"""What the host tier remembers against a motion: what is wrong with its content, nothing else."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from motion_ray.errors import DeltaError, StoreError, UnknownMotionError
from motion_ray.serving.pool import MotionPool
from motion_ray.serving.sources import StoreSource
from motion_ray.store import DeltaStore
from tests.serving.toy import single, toy_delta


def test_a_withdrawn_version_does_not_count_against_its_content(base, tmp_path):
    """Neither under another name nor when it is published again."""
    store = DeltaStore(tmp_path)
    for name in ("wave", "jump"):
        store.publish(toy_delta(1), name)
    pool = MotionPool(StoreSource(store), base)
    waiting, other = store.resolve("wave"), store.resolve("jump")
    store.withdraw("wave")
    with pytest.raises(UnknownMotionError):
        pool.lease(single(waiting))
    pool.lease(single(other)).release()
    pool.unload(other)
    with pytest.raises(UnknownMotionError):
        pool.lease(single(waiting))
    store.publish(toy_delta(1), "wave")
    assert store.resolve("wave").version == 2
    pool.lease(single(store.resolve("wave"))).release()


def test_a_fault_of_the_disk_is_the_stores_and_not_remembered(base, tmp_path, monkeypatch):
    store = DeltaStore(tmp_path)
    store.publish(toy_delta(1), "wave")
    record = store.resolve("wave")
    pool = MotionPool(StoreSource(store), base)
    opened = os.open

    def failing(path: Any, *rest: Any, **options: Any) -> int:
        if record.sha256 in os.fspath(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        return opened(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(StoreError, match="input/output error"):
            pool.lease(single(record))
    pool.lease(single(record)).release()


def test_damage_is_remembered(base, tmp_path):
    store = DeltaStore(tmp_path)
    store.publish(toy_delta(1), "wave")
    record = store.resolve("wave")
    (tmp_path / "objects" / record.sha256 / "header.json").write_text("{}")
    pool = MotionPool(StoreSource(store), base)
    for _ in range(2):
        with pytest.raises(DeltaError, match=r"^motion wave@1: .*is damaged"):
            pool.lease(single(record))
    assert (pool.statistics().broken, pool.statistics().refused) == (1, 1)
