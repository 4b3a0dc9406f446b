"""Files of a sweep, wherever they are; faults of filesystems are told as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from motion_ray.errors import LedgerError, MirrorError
from motion_ray.sweeps.place import LocalPlace, Place, RemotePlace, open_place


class NoCredentialsError(Exception):
    """Botocore's own is no OSError either."""


@pytest.fixture
def remote() -> Iterator[RemotePlace]:
    place = open_place("memory://far/sweep")
    assert isinstance(place, RemotePlace)
    yield place
    MemoryFileSystem.store.clear()


@pytest.fixture(params=["local", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield open_place(
        {
            "local": f"{tmp_path}/sweep",
            "file": f"file://{tmp_path}/sweep",
            "memory": "memory://near/sweep",
        }[request.param]
    )
    MemoryFileSystem.store.clear()


def test_files_of_any_place(place: Place, tmp_path: Path) -> None:
    assert (place.names("trials"), place.read("trials/a.json")) == ([], None)
    assert place.create("trials/b.json", b"one") and not place.create("trials/b.json", b"two")
    place.replace("trials/a.json", b"three")
    source, target = tmp_path / "source", tmp_path / "target"
    assert not place.download("trials/c.bin", target) and not target.exists()
    source.write_bytes(b"large")
    place.upload("trials/c.bin", source)
    assert place.download("trials/c.bin", target) and target.read_bytes() == b"large"
    assert place.names("trials") == ["a.json", "b.json", "c.bin"]
    assert (place.read("trials/b.json"), place.read("trials/a.json")) == (b"one", b"three")
    for _ in range(2):
        place.remove("trials/b.json")
    assert place.names("trials") == ["a.json", "c.bin"]


DEEDS: dict[str, tuple[str, str, Callable[[Place, Path], object]]] = {
    "names": ("ls", "cannot be read", lambda place, _: place.names("trials")),
    "read": ("cat_file", "cannot be read", lambda place, _: place.read("a")),
    "create": ("pipe_file", "cannot be written", lambda place, _: place.create("a", b"x")),
    "replace": ("pipe_file", "cannot be written", lambda place, _: place.replace("a", b"x")),
    "upload": ("put_file", "cannot be written", lambda place, file: place.upload("a", file)),
    "download": ("get_file", "cannot be written", lambda place, file: place.download("a", file)),
    "remove": ("rm_file", "cannot be written", lambda place, _: place.remove("a")),
}


class ListedFileSystem(MemoryFileSystem):
    """Knows of files what its last listing said, as those of buckets do for a while."""

    protocol = "listed"
    cachable = False
    listings: ClassVar[dict[str, list[Any]]] = {}

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        self.listings[path] = super().ls(path, detail=True, **kwargs)
        return super().ls(path, detail=detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        listed = self.listings.get(path.rpartition("/")[0])
        if listed is not None and all(entry["name"] != path for entry in listed):
            raise FileNotFoundError(path)
        return super().info(path, **kwargs)

    def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self.info(path)
        return super()._open(path, *args, **kwargs)

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        return MemoryFileSystem.store[path].getvalue()


def test_a_file_that_came_after_the_last_listing_is_read(remote: RemotePlace) -> None:
    mine = RemotePlace(ListedFileSystem(), "/far/sweep")
    remote.create("events/a.1", b"1")
    assert mine.names("events") == ["a.1"]
    remote.create("events/a.2", b"2")  # by another machine
    with pytest.raises(FileNotFoundError):
        ListedFileSystem().open("/far/sweep/events/a.2")
    assert mine.read("events/a.2") == b"2"


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("fault", [PermissionError("denied"), NoCredentialsError("none found")])
def test_a_fault_of_a_filesystem_is_told_as_ours(
    remote: RemotePlace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deed: str,
    fault: Exception,
) -> None:
    call, rule, act = DEEDS[deed]

    def broken(*args: object, **kwargs: object) -> None:
        raise fault

    monkeypatch.setattr(MemoryFileSystem, call, broken)
    (tmp_path / "file").write_bytes(b"x")
    expected = rule if isinstance(fault, OSError) else "cannot be reached: NoCredentialsError"
    with pytest.raises(
        LedgerError,
        match=f"{expected}.*check the address, the credentials|"
        f"{expected}.*check the address and the credentials",
    ) as told:
        act(remote, tmp_path / "file")
    assert told.value.__cause__ is fault


def test_a_disk_that_refuses_is_told_as_ours(tmp_path: Path) -> None:
    (tmp_path / "sweep").write_text("a file where a folder should be")
    place = LocalPlace(tmp_path / "sweep", MirrorError)
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(MirrorError, match="cannot be written"):
        place.upload("trials/a", source)
    with pytest.raises(MirrorError, match="cannot be written"):
        place.remove("trials/a")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "sweep"]


def test_an_address_that_nothing_opens_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"nowhere://x: cannot be opened.*for example ./sweep"):
        open_place("nowhere://x")
