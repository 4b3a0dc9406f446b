"""Files of a sweep, wherever they are; faults of filesystems are told as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

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
    "read": ("read_block", "cannot be read", lambda place, _: place.read("a")),
    "create": ("pipe_file", "cannot be written", lambda place, _: place.create("a", b"x")),
    "replace": ("pipe_file", "cannot be written", lambda place, _: place.replace("a", b"x")),
    "upload": ("put_file", "cannot be written", lambda place, file: place.upload("a", file)),
    "download": ("get_file", "cannot be written", lambda place, file: place.download("a", file)),
    "remove": ("rm_file", "cannot be written", lambda place, _: place.remove("a")),
}


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
