"""Atomic and durable writing: what a crash, a fault or a full disk may leave, and in what order."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from motion_ray.errors import CheckpointError, MotionRayError
from motion_ray.files import (
    atomic_directory,
    create_bytes_exclusive,
    remove_directory,
    remove_stale,
    write_bytes_atomic,
    write_text_atomic,
)
from motion_ray.manifest import sha256_of, verify_manifest
from motion_ray.temporaries import is_temporary, temporary_name, writer_is_gone
from tests.disks import small_disk

# --- single files ---------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.json"
    write_text_atomic(path, "ä" * 1000)
    write_bytes_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_bytes_atomic(path, b"old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        CheckpointError, match=r"file: cannot be written: input/output error; check"
    ):
        write_bytes_atomic(path, b"new", CheckpointError)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    data = random.Random(0).randbytes(10_000)
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: whole(fd, view[: max(1, len(view) // 2)]))
    write_bytes_atomic(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_write_without_progress_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, view: 0)
    with pytest.raises(MotionRayError, match="no progress"):
        write_bytes_atomic(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_path_through_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MotionRayError, match="below: cannot be written"):
        write_bytes_atomic(tmp_path / "file" / "below", b"data")


def test_of_many_writers_one_creates_a_file(tmp_path):
    start = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if create_bytes_exclusive(tmp_path / "file", str(number).encode() * 1000):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "file").read_bytes() == str(won[0]).encode() * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# --- directories ----------------------------------------------------------------------------------


def fill(directory: Path, text: str = "one") -> None:
    (directory / "a.txt").write_text(text)
    (directory / "sub").mkdir()
    (directory / "sub" / "b.bin").write_bytes(bytes(range(256)) * 10)


@pytest.fixture
def sealed(tmp_path) -> Path:
    with atomic_directory(tmp_path / "final") as temporary:
        fill(temporary)
    return tmp_path / "final"


def test_a_directory_appears_complete(sealed):
    entries = verify_manifest(sealed, MotionRayError)
    assert {name: entry.size for name, entry in entries.items()} == {"a.txt": 3, "sub/b.bin": 2560}
    assert entries["a.txt"].sha256 == sha256_of(sealed / "a.txt")
    assert [entry.name for entry in sealed.parent.iterdir()] == ["final"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, MotionRayError])
def test_an_exception_leaves_nothing_and_passes(tmp_path, fault):
    raised = MotionRayError("here", "rule") if fault is MotionRayError else fault("mine")
    with (
        pytest.raises(fault) as caught,
        atomic_directory(tmp_path / "final", CheckpointError) as temporary,
    ):
        fill(temporary)
        raise raised
    assert caught.value is raised
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_left_alone(sealed):
    with (
        pytest.raises(CheckpointError, match="final: already exists; choose another name"),
        atomic_directory(sealed, CheckpointError),
    ):
        raise AssertionError("the body must not run")
    verify_manifest(sealed, MotionRayError)


def test_a_directory_that_appears_meanwhile_is_left_alone(tmp_path):
    final = tmp_path / "final"
    with (
        pytest.raises(CheckpointError, match="another process wrote it meanwhile"),
        atomic_directory(final, CheckpointError) as outer,
    ):
        fill(outer, "loser")
        with atomic_directory(final) as inner:
            fill(inner, "winner")
    verify_manifest(final, MotionRayError)
    assert (final / "a.txt").read_text() == "winner"
    assert [entry.name for entry in tmp_path.iterdir()] == ["final"]


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "final").mkdir()
    with atomic_directory(tmp_path / "final") as temporary:
        fill(temporary)
    verify_manifest(tmp_path / "final", MotionRayError)


def test_a_link_is_not_sealed(tmp_path):
    with (
        pytest.raises(CheckpointError, match="link: is a symbolic link, which is refused"),
        atomic_directory(tmp_path / "final", CheckpointError) as temporary,
    ):
        (temporary / "link").symlink_to("/etc/hostname")
    assert list(tmp_path.iterdir()) == []


def test_the_order_that_durability_needs(tmp_path, monkeypatch):
    """Data synced, then the manifest written and synced, then rename, then the parent synced."""
    calls: list[tuple[str, str]] = []
    paths: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename")}

    def opened(path, flags, *rest, **options):
        descriptor = real["open"](path, flags, *rest, **options)
        paths[descriptor] = os.fspath(path)
        if flags & os.O_CREAT:
            calls.append(("create", Path(path).name))
        return descriptor

    def synced(descriptor):
        name = Path(paths[descriptor]).name
        calls.append(("fsync", "TEMPORARY" if is_temporary(name) else name))
        real["fsync"](descriptor)

    def renamed(source, target):
        calls.append(("rename", Path(target).name))
        real["rename"](source, target)

    for name, double in (("open", opened), ("fsync", synced), ("rename", renamed)):
        monkeypatch.setattr(os, name, double)
    with atomic_directory(tmp_path / "final") as temporary:
        fill(temporary)
    assert calls == [
        ("fsync", "a.txt"),
        ("fsync", "b.bin"),
        ("create", "manifest.json"),
        ("fsync", "manifest.json"),
        ("fsync", "sub"),
        ("fsync", "TEMPORARY"),
        ("rename", "final"),
        ("fsync", tmp_path.name),
    ]


def test_a_failed_fsync_is_not_retried(tmp_path, monkeypatch):
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with (
        pytest.raises(CheckpointError, match="input/output error"),
        atomic_directory(tmp_path / "final", CheckpointError) as temporary,
    ):
        fill(temporary)
    assert len(calls) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_filesystem_that_cannot_sync_directories_is_usable(tmp_path, monkeypatch):
    real = os.fsync

    def no_directories(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", no_directories)
    with atomic_directory(tmp_path / "final") as temporary:
        fill(temporary)
    verify_manifest(tmp_path / "final", MotionRayError)


def test_a_directory_is_removed_by_way_of_a_hidden_name(sealed, monkeypatch):
    seen = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (seen.append(Path(path).name), real(path)))
    remove_directory(sealed)
    assert list(sealed.parent.iterdir()) == []
    assert is_temporary(seen[0])


# --- the manifest ---------------------------------------------------------------------------------


def test_each_damage_is_named(sealed):
    damages = {
        "a.txt: is missing": lambda: (sealed / "a.txt").unlink(),
        "a.txt: is damaged: 2 bytes instead of 3": lambda: (sealed / "a.txt").write_text("on"),
        "a.txt: is damaged: its content changed": lambda: (sealed / "a.txt").write_text("two"),
        "more: does not belong here": lambda: (sealed / "more").write_text(""),
        "sub/more: does not belong here": lambda: (sealed / "sub" / "more").write_text(""),
        "link: is a symbolic link": lambda: (sealed / "link").symlink_to("a.txt"),
        "pipe: is not a plain file": lambda: os.mkfifo(sealed / "pipe"),
        "manifest.json: is missing: the folder is unfinished": lambda: (
            sealed / "manifest.json"
        ).unlink(),
        "json: is damaged: not a manifest": lambda: (sealed / "manifest.json").write_text("{}"),
    }
    for message, damage in damages.items():
        shutil.copytree(sealed, sealed.parent / "copy")
        damage()
        with pytest.raises(CheckpointError, match=message):
            verify_manifest(sealed, CheckpointError)
        shutil.rmtree(sealed)
        (sealed.parent / "copy").rename(sealed)
    verify_manifest(sealed, CheckpointError)


def test_a_file_replaced_by_a_link_to_the_same_bytes_is_refused(sealed):
    (sealed / "a.txt").rename(sealed.parent / "elsewhere")
    (sealed / "a.txt").symlink_to(sealed.parent / "elsewhere")
    with pytest.raises(MotionRayError, match=r"a\.txt: is a symbolic link"):
        verify_manifest(sealed, MotionRayError)


def test_every_single_bit_of_the_manifest_counts(sealed):
    path = sealed / "manifest.json"
    data = path.read_bytes()
    accepted = []
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        try:
            verify_manifest(sealed, MotionRayError, contents=False)
            verify_manifest(sealed, MotionRayError)
            accepted.append(bit)
        except MotionRayError:
            continue
    assert accepted == []
    path.write_bytes(data)
    verify_manifest(sealed, MotionRayError)


def test_without_contents_only_names_and_sizes_are_compared(sealed):
    (sealed / "a.txt").write_text("two")
    verify_manifest(sealed, MotionRayError, contents=False)
    (sealed / "a.txt").write_text("twos")
    with pytest.raises(MotionRayError, match="4 bytes instead of 3"):
        verify_manifest(sealed, MotionRayError, contents=False)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/../a.txt"])
def test_a_manifest_cannot_name_what_is_outside(sealed, name):
    path = sealed / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][name] = {"sha256": "0" * 64, "size": 1}
    path.write_text(json.dumps(content, sort_keys=True, indent=1) + "\n")
    with pytest.raises(MotionRayError, match="is missing"):
        verify_manifest(sealed, MotionRayError)


def test_no_such_directory(tmp_path):
    with pytest.raises(MotionRayError, match="nothing: cannot be read: no such file"):
        verify_manifest(tmp_path / "nothing", MotionRayError)


# --- temporaries of other writers -----------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from motion_ray.files import atomic_directory
with atomic_directory(Path(sys.argv[1])) as temporary:
    (temporary / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing ``tmp_path/final``."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "final")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_what_a_killed_writer_left_is_removed(tmp_path, writer):
    assert remove_stale(tmp_path) == []  # it lives
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists() and left.name.startswith(".final~")
    writer.send_signal(signal.SIGKILL)
    # Not waited for: a zombie has a process id but writes no more.
    deadline = time.monotonic() + 10
    while not writer_is_gone(left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert remove_stale(tmp_path) == [left.name]
    assert list(tmp_path.iterdir()) == []


def renamed(name: str, machine: str = "", pid: str = "", started: str = "") -> str:
    stem, host, number, start, rest = name.rsplit("~", 4)
    return "~".join([stem, machine or host, pid or number, started or start, rest])


def test_a_process_id_used_again_is_not_the_writer(tmp_path):
    mine = temporary_name("final")
    (tmp_path / mine).mkdir()
    (tmp_path / renamed(mine, started="1")).mkdir()
    assert remove_stale(tmp_path) == [renamed(mine, started="1")]
    assert [entry.name for entry in tmp_path.iterdir()] == [mine]


@pytest.mark.parametrize("hours", [1, 30])
def test_a_writer_of_another_machine_counts_as_gone_after_a_day(tmp_path, hours):
    path = tmp_path / renamed(temporary_name("final"), machine=f"{socket.gethostname()}-1")
    path.mkdir()
    (path / "half").write_text("half")
    for each in (path / "half", path):
        os.utime(each, (time.time() - hours * 3600,) * 2)
    assert remove_stale(tmp_path) == ([path.name] if hours > 24 else [])


@pytest.mark.parametrize("minutes", [30, 90])
def test_what_lay_half_written_when_a_machine_was_restarted_is_gone_after_an_hour(
    tmp_path, minutes
):
    """Not at once: it may be of another machine that is a copy of ours, and writes on."""
    host, _, _ = temporary_name("final").split("~")[1].rpartition("-")
    path = tmp_path / renamed(temporary_name("final"), machine=f"{host}-0123abcd", started="1")
    path.write_text("half")
    os.utime(path, (time.time() - minutes * 60,) * 2)
    assert remove_stale(tmp_path) == ([path.name] if minutes > 60 else [])


def test_files_of_users_are_no_temporaries(tmp_path):
    for name in (".hidden.tmp", "final.tmp", ".a~b.tmp", ".gitignore", "~.tmp"):
        (tmp_path / name).write_text("mine")
    assert remove_stale(tmp_path) == []
    assert remove_stale(tmp_path / "nothing") == []
    assert len(list(tmp_path.iterdir())) == 5


def test_a_long_name_still_fits(tmp_path):
    write_bytes_atomic(tmp_path / ("x" * 255), b"data")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"data"


# --- real disks -----------------------------------------------------------------------------------


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(megabytes=2) as mount:
        yield mount


def test_a_full_disk_says_how_much_to_free(disk):
    write_bytes_atomic(disk / "kept", b"x" * 2**20)
    message = rf"cannot be written: the disk is full; free at least 3 MB on {disk}; all is well$"
    with (
        pytest.raises(CheckpointError, match=message),
        atomic_directory(
            disk / "big", CheckpointError, expected_bytes=4_000_000, consequence="all is well"
        ) as temporary,
    ):
        (temporary / "file").write_bytes(b"x" * 4_000_000)
    with pytest.raises(CheckpointError, match="the disk is full; free at least 1 MB"):
        write_bytes_atomic(disk / "kept", b"y" * 2 * 2**20, CheckpointError)
    assert [entry.name for entry in disk.iterdir()] == ["kept"]
    assert (disk / "kept").read_bytes() == b"x" * 2**20


def test_a_read_only_disk_is_explained(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(CheckpointError, match="cannot be written: read-only file system; check"):
        write_bytes_atomic(disk / "new" / "file", b"x", CheckpointError)
    assert list(disk.iterdir()) == []
