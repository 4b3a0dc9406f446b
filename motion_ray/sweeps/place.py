"""Files of a sweep: in a local folder, or on any filesystem that fsspec opens.

A file appears whole or not at all, and :meth:`Place.create` lets exactly one of several writers
win. The record of a sweep needs nothing else to survive a kill -9.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import fsspec.core
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from motion_ray.errors import LedgerError, MotionRayError
from motion_ray.files import (
    create_bytes_exclusive,
    fsync_directory,
    remove_stale,
    write_bytes_atomic,
    write_new_file,
)
from motion_ray.manifest import reading
from motion_ray.remote import FIX, reached, written
from motion_ray.temporaries import temporary_name

CHUNK = 2**24  # bytes


class Place(Protocol):
    """A folder of files. Paths are relative, ``/`` between their parts.

    What cannot be read or written is told by the error that :func:`open_place` was given.
    """

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if there is no such folder."""
        ...

    def read(self, path: str) -> bytes | None:
        """Content of a small file; null if there is none."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Create a small file durably; False, with nothing changed, if it is there already."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a small file durably, in place of one that may be there."""
        ...

    def upload(self, path: str, source: Path) -> None:
        """Write a file of any size durably, in place of one that may be there."""
        ...

    def download(self, path: str, target: Path) -> bool:
        """Copy a file of any size to a local path; False if there is none."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file that may be there."""
        ...


class LocalPlace:
    """A folder of this machine, or of a network filesystem with hard links."""

    def __init__(self, root: Path, error: type[MotionRayError] = LedgerError) -> None:
        self._root, self._error = root, error

    def names(self, folder: str) -> list[str]:
        """See :class:`Place`; also removes what killed writers left."""
        directory = self._root / folder
        if not directory.is_dir():
            return []
        remove_stale(directory)
        with reading(directory, self._error):
            return sorted(e.name for e in directory.iterdir() if not e.name.startswith("."))

    def read(self, path: str) -> bytes | None:
        """See :class:`Place`."""
        with reading(self._root / path, self._error), contextlib.suppress(FileNotFoundError):
            return (self._root / path).read_bytes()
        return None

    def create(self, path: str, data: bytes) -> bool:
        """See :class:`Place`."""
        return create_bytes_exclusive(self._root / path, data, self._error)

    def replace(self, path: str, data: bytes) -> None:
        """See :class:`Place`."""
        write_bytes_atomic(self._root / path, data, self._error)

    def upload(self, path: str, source: Path) -> None:
        """See :class:`Place`."""
        target = self._root / path
        temporary = target.parent / temporary_name(target.name)
        with _writing(target, self._error):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_new_file(temporary, _chunks(source))
            os.replace(temporary, target)
            fsync_directory(target.parent)

    def download(self, path: str, target: Path) -> bool:
        """See :class:`Place`."""
        source = self._root / path
        if not source.exists():
            return False
        with _writing(target, self._error):
            write_new_file(target, _chunks(source))
        return True

    def remove(self, path: str) -> None:
        """See :class:`Place`."""
        with _writing(self._root / path, self._error):
            (self._root / path).unlink(missing_ok=True)


class RemotePlace:
    """Any fsspec filesystem, for example ``s3://bucket/sweeps/night-1``.

    One of several writers wins where the filesystem can create a file exclusively; S3 and GCS can.
    """

    def __init__(
        self,
        filesystem: AbstractFileSystem,
        root: str,
        error: type[MotionRayError] = LedgerError,
    ) -> None:
        self._filesystem, self._root, self._error = filesystem, root.rstrip("/"), error

    def names(self, folder: str) -> list[str]:
        """See :class:`Place`."""
        path = f"{self._root}/{folder}"
        self._filesystem.invalidate_cache(path)
        try:
            with reached(path, self._error):
                found = self._filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise self._error(path, f"cannot be read: {fault}", FIX) from fault
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def read(self, path: str) -> bytes | None:
        """See :class:`Place`."""
        whole = f"{self._root}/{path}"
        try:
            with reached(whole, self._error):
                # Not by opening it: that asks listings which some libraries keep for minutes.
                return cast("bytes", self._filesystem.cat_file(whole))
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise self._error(whole, f"cannot be read: {fault}", FIX) from fault

    def create(self, path: str, data: bytes) -> bool:
        """See :class:`Place`."""
        return self._write(path, data, "create")

    def replace(self, path: str, data: bytes) -> None:
        """See :class:`Place`."""
        self._write(path, data, "overwrite")

    def upload(self, path: str, source: Path) -> None:
        """See :class:`Place`."""
        whole = f"{self._root}/{path}"
        with written(whole, self._error):
            self._filesystem.makedirs(whole.rpartition("/")[0], exist_ok=True)
            self._filesystem.put_file(str(source), whole)

    def download(self, path: str, target: Path) -> bool:
        """See :class:`Place`."""
        whole = f"{self._root}/{path}"
        with _writing(target, self._error), reached(whole, self._error):
            try:
                self._filesystem.get_file(whole, str(target))
            except FileNotFoundError:
                return False
        return True

    def remove(self, path: str) -> None:
        """See :class:`Place`."""
        whole = f"{self._root}/{path}"
        with written(whole, self._error), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(whole)

    def _write(self, path: str, data: bytes, mode: str) -> bool:
        whole = f"{self._root}/{path}"
        with written(whole, self._error):
            self._filesystem.makedirs(whole.rpartition("/")[0], exist_ok=True)
            try:
                self._filesystem.pipe_file(whole, data, mode=mode)
            except FileExistsError:
                return False
        return True


@contextlib.contextmanager
def _writing(where: object, error: type[MotionRayError]) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise error(where, f"cannot be written: {fault}", FIX) from fault


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def open_place(uri: str | Path, error: type[MotionRayError] = LedgerError) -> Place:
    """The place behind a path or URI; nothing is created yet.

    Args:
        uri: a local path or an fsspec URI.
        error: raised for what cannot be read or written.

    Raises:
        MotionRayError: of that class; no filesystem is installed for the URI.
    """
    text = str(uri)
    if "://" not in text:
        return LocalPlace(Path(text).expanduser(), error)
    try:
        filesystem, root = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as fault:
        raise error(text, f"cannot be opened: {fault}", "for example ./sweep") from fault
    if isinstance(filesystem, LocalFileSystem):
        return LocalPlace(Path(root), error)
    return RemotePlace(filesystem, root, error)
