"""Small files of a sweep: in a local folder, or on any filesystem that fsspec opens.

A file appears whole or not at all, and :meth:`Place.create` lets exactly one of several writers
win. The record of a sweep needs nothing else to survive a kill -9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import fsspec.core
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from motion_ray.errors import LedgerError
from motion_ray.files import create_bytes_exclusive, remove_stale, write_bytes_atomic
from motion_ray.manifest import reading

FIX = "check the address, the credentials and the space"


class Place(Protocol):
    """A folder of small files. Paths are relative, ``/`` between their parts."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if there is no such folder."""
        ...

    def read(self, path: str) -> bytes | None:
        """Content of a file; null if there is none.

        Raises:
            LedgerError: it cannot be read.
        """
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Create a file durably; False, with nothing changed, if it is there already.

        Raises:
            LedgerError: it cannot be written.
        """
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a file durably, in place of one that may be there.

        Raises:
            LedgerError: it cannot be written.
        """
        ...


class LocalPlace:
    """A folder of this machine, or of a network filesystem with hard links."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> list[str]:
        """See :class:`Place`; also removes what killed writers left."""
        directory = self._root / folder
        if not directory.is_dir():
            return []
        remove_stale(directory)
        with reading(directory, LedgerError):
            return sorted(e.name for e in directory.iterdir() if not e.name.startswith("."))

    def read(self, path: str) -> bytes | None:
        """See :class:`Place`."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            rule = f"cannot be read: {fault.strerror}"
            raise LedgerError(self._root / path, rule, "check its permissions") from fault

    def create(self, path: str, data: bytes) -> bool:
        """See :class:`Place`."""
        return create_bytes_exclusive(self._root / path, data, LedgerError)

    def replace(self, path: str, data: bytes) -> None:
        """See :class:`Place`."""
        write_bytes_atomic(self._root / path, data, LedgerError)


class RemotePlace:
    """Any fsspec filesystem, for example ``s3://bucket/sweeps/night-1``.

    One of several writers wins where the filesystem can create a file exclusively; S3 and GCS can.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")

    def names(self, folder: str) -> list[str]:
        """See :class:`Place`."""
        path = f"{self._root}/{folder}"
        self._filesystem.invalidate_cache(path)
        try:
            found = self._filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise LedgerError(path, f"cannot be read: {fault}", FIX) from fault
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def read(self, path: str) -> bytes | None:
        """See :class:`Place`."""
        try:
            return self._filesystem.read_block(f"{self._root}/{path}", 0, None)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise LedgerError(f"{self._root}/{path}", f"cannot be read: {fault}", FIX) from fault

    def create(self, path: str, data: bytes) -> bool:
        """See :class:`Place`."""
        return self._write(path, data, "create")

    def replace(self, path: str, data: bytes) -> None:
        """See :class:`Place`."""
        self._write(path, data, "overwrite")

    def _write(self, path: str, data: bytes, mode: str) -> bool:
        whole = f"{self._root}/{path}"
        try:
            self._filesystem.makedirs(whole.rpartition("/")[0], exist_ok=True)
            self._filesystem.pipe_file(whole, data, mode=mode)
        except FileExistsError:
            return False
        except OSError as fault:
            raise LedgerError(whole, f"cannot be written: {fault}", FIX) from fault
        return True


def open_place(uri: str | Path) -> Place:
    """The place behind a path or URI; nothing is created yet.

    Raises:
        LedgerError: no filesystem is installed for the URI.
    """
    text = str(uri)
    if "://" not in text:
        return LocalPlace(Path(text).expanduser())
    try:
        filesystem, root = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as fault:
        raise LedgerError(text, f"cannot be opened: {fault}", "for example ./sweep") from fault
    if isinstance(filesystem, LocalFileSystem):
        return LocalPlace(Path(root))
    return RemotePlace(filesystem, root)
