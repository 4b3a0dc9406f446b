"""A store whose disk fails or vanishes: a fault that may pass, never a motion that is gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from motion_ray import tensors
from motion_ray.errors import DeltaError, StoreError, UnknownMotionError
from motion_ray.store import DeltaStore
from tests.crash import numbered_delta


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path) -> Iterator[str]:
    yield {"local": f"{tmp_path}/store", "memory": f"memory://{tmp_path.name}/store"}[request.param]
    MemoryFileSystem.store.clear()


def vanish(place: str) -> None:
    """As an unmounted folder does: an empty one is left."""
    if place.startswith("memory"):
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
    else:
        Path(place).rename(f"{place}-unmounted")
        Path(place).mkdir()


def come_back(place: str) -> None:
    Path(place).rmdir()
    Path(f"{place}-unmounted").rename(place)


# --- a place that is gone -------------------------------------------------------------------------


def test_a_place_that_is_gone_is_not_an_empty_store(place):
    DeltaStore(place).publish(numbered_delta(7), "wave")
    store = DeltaStore(place)
    assert store.resolve("wave").version == 1
    vanish(place)
    for ask in (
        store.versions,
        store.list,
        lambda: store.resolve("wave"),
        lambda: store.load("wave@1"),
        lambda: store.withdraw("wave"),
        lambda: store.publish(numbered_delta(8), "wave"),
    ):
        with pytest.raises(StoreError, match="had motions, and is gone") as caught:
            ask()
        assert not isinstance(caught.value, UnknownMotionError)


def test_a_store_that_comes_back_is_as_it_was_and_nothing_was_written_meanwhile(tmp_path):
    place = f"{tmp_path}/store"
    store = DeltaStore(place)
    store.publish(numbered_delta(7), "wave")  # known from publishing alone
    vanish(place)
    with pytest.raises(StoreError, match="is gone"):
        store.publish(numbered_delta(8), "wave")
    come_back(place)
    assert store.load("wave@1").sha256 == numbered_delta(7).sha256
    assert store.publish(numbered_delta(8), "wave") == "wave@2"


def test_a_place_that_goes_while_a_delta_is_read_says_nothing_about_it(tmp_path, monkeypatch):
    place = f"{tmp_path}/store"
    store = DeltaStore(place)
    store.publish(numbered_delta(7), "wave")
    read_ref = store._shelf.read_ref

    def last_words(name: str, version: int) -> bytes:
        data = read_ref(name, version)
        vanish(place)
        return data

    monkeypatch.setattr(store._shelf, "read_ref", last_words)
    with pytest.raises(StoreError, match="is gone"):
        store.load("wave@1")


def test_a_store_that_never_had_motions_is_empty(place):
    store = DeltaStore(place)
    assert store.versions() == []
    with pytest.raises(UnknownMotionError):
        store.resolve("wave")
    DeltaStore(place).publish(numbered_delta(7), "wave")
    with pytest.raises(UnknownMotionError, match="it holds: wave"):
        store.resolve("jump")


# --- faults of the system -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("file", ["manifest.json", "header.json", "tensors.safetensors"])
def test_a_fault_of_the_system_is_no_damage(place, monkeypatch, code, file):
    store = DeltaStore(place)
    store.publish(numbered_delta(7), "wave")
    opened = os.open

    def failing(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if os.fspath(path).endswith(file) and not flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), os.fspath(path))
        return opened(path, flags, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(StoreError, match="cannot be read now"):
            store.load("wave")
    assert store.load("wave").sha256 == numbered_delta(7).sha256


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(
            "No such file or directory: tensors.safetensors"
        ),  # as it tells of EMFILE
        tensors.SafetensorError("Could not read tensor a: Input/output error (os error 5)"),
    ],
)
def test_a_fault_that_safetensors_tells_in_its_own_way_is_no_damage(place, monkeypatch, fault):
    store = DeltaStore(place)
    store.publish(numbered_delta(7), "wave")

    def failing(*args: object, **options: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "safe_open", failing)
        with pytest.raises(StoreError, match="cannot be read now"):
            store.load("wave")
    assert store.load("wave").sha256 == numbered_delta(7).sha256


def test_what_safetensors_finds_in_the_content_is_damage(tmp_path, monkeypatch):
    store = DeltaStore(tmp_path)
    store.publish(numbered_delta(7), "wave")

    def failing(*args: object, **options: object) -> None:
        raise tensors.SafetensorError("tensor '(os error 5)' is invalid")

    monkeypatch.setattr(tensors, "safe_open", failing)
    with pytest.raises(DeltaError):
        store.load("wave")


def test_a_folder_that_cannot_be_looked_at_is_a_fault_of_the_store(tmp_path, monkeypatch):
    store = DeltaStore(tmp_path)
    store.publish(numbered_delta(7), "wave")

    def stale(*args: object, **options: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    for call in ("stat", "scandir", "listdir"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, stale)
            with pytest.raises(StoreError, match="stale file handle"):
                store.load("wave")
