"""Where a delta store keeps its bytes: a local folder, or any filesystem that fsspec opens.

Both hold ``objects/<sha256>/`` (a delta, content-addressed) and ``refs/<name>/<version>.json``.
A ref is created after its object and only if it does not exist, so what a ref names is complete.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fsspec.spec import AbstractFileSystem

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError, StoreError
from motion_ray.files import (
    atomic_directory,
    create_bytes_exclusive,
    remove_directory,
    remove_stale,
)
from motion_ray.manifest import MANIFEST, faults_apart, read_limited, reading
from motion_ray.remote import reached, written

log = logging.getLogger(__name__)

LARGEST_REF = 2**20  # bytes
WITHDRAWN = ".withdrawn"  # ending of the file that takes a ref of the same number back
UPLOADS = 6  # of a delta that others write at the same moment
_REF_FILE = re.compile(r"([1-9][0-9]{0,8})\.json")


class Shelf(Protocol):
    """What a store needs from its place. Names and ids were checked by the caller."""

    def names(self) -> list[str]:
        """Names that have refs, sorted; other entries may be among them.

        Raises:
            StoreError: the place cannot be read, or had refs and is gone.
        """
        ...

    def versions(self, name: str) -> list[int]:
        """Versions of a name in ascending order, without those that were withdrawn.

        Raises:
            StoreError: as :meth:`names`.
        """
        ...

    def read_ref(self, name: str, version: int) -> bytes:
        """Content of a ref.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def create_ref(self, name: str, version: int, data: bytes) -> bool:
        """Create a ref durably; False if there is one already."""
        ...

    def withdraw(self, name: str, version: int) -> bool:
        """Mark a ref as withdrawn, durably and for good; False if it is already.

        Nothing is removed: the number is not given out again, so that ``name@version`` never means
        two things, and the object may be the content of another ref, or is being named by one.
        """
        ...

    def put(self, delta: MotionDelta) -> None:
        """Have the delta in the store, whole, under its content id.

        Raises:
            StoreError: the place is full, broken or read-only.
        """
        ...

    def load(self, sha256: str) -> MotionDelta:
        """The delta with a content id, verified.

        Raises:
            DeltaError: it is missing or damaged.
            StoreError: it cannot be read now.
        """
        ...


class _Presence:
    """Keeps a place that has vanished, such as an unmounted folder, from passing for an empty one.

    Nothing of ours removes a ref, so refs that were seen are there as long as the place is.
    """

    def __init__(self, place: str) -> None:
        self._place, self._seen = place, False

    def found(self, there: bool) -> None:
        """Somebody has looked whether there are refs.

        Raises:
            StoreError: there were, and there are none.
        """
        if there:
            self._seen = True
        elif self._seen:
            rule = "had motions, and is gone: its disk or network folder may not be mounted"
            raise StoreError(self._place, rule, "mount it again; if it was removed, restart")


class LocalShelf:
    """A folder on this machine or on a network filesystem with hard links.

    Any number of processes may publish at once. Leftovers of killed ones are removed on opening.
    """

    def __init__(self, root: Path) -> None:
        self._objects, self._refs = root / "objects", root / "refs"
        self._presence = _Presence(f"{root}")
        with reading(root, StoreError):
            file = root.exists() and not root.is_dir()
        if file:
            raise StoreError(
                f"{root}", "is no folder", "a store is one, for example demo/run/store"
            )
        remove_stale(self._objects)
        for name in self.names():
            remove_stale(self._refs / name)

    def names(self) -> list[str]:
        """See :class:`Shelf`."""
        entries = _list(self._refs)
        with reading(self._refs, StoreError):
            folders = [each for each in entries if each.is_dir() and not each.is_symlink()]
        self._check_there()  # last: it may have vanished while it was looked through
        return sorted(folder.name for folder in folders)

    def versions(self, name: str) -> list[int]:
        """See :class:`Shelf`."""
        entries = _list(_no_link(self._refs / name))
        if entries:
            self._presence.found(True)
        else:
            self._check_there()
        return _versions([entry.name for entry in entries])

    def read_ref(self, name: str, version: int) -> bytes:
        """See :class:`Shelf`."""
        folder = _no_link(self._refs / name)
        with reading(folder, StoreError):
            return read_limited(folder / f"{version}.json", LARGEST_REF)

    def create_ref(self, name: str, version: int, data: bytes) -> bool:
        """See :class:`Shelf`."""
        path = _no_link(self._refs / name) / f"{version}.json"
        created = create_bytes_exclusive(path, data, StoreError)
        self._presence.found(True)
        return created

    def withdraw(self, name: str, version: int) -> bool:
        """See :class:`Shelf`."""
        path = _no_link(self._refs / name) / f"{version}{WITHDRAWN}"
        return create_bytes_exclusive(path, b"", StoreError)

    def put(self, delta: MotionDelta) -> None:
        """See :class:`Shelf`."""
        self._check_there()  # or a new store would begin below the mount point
        folder = _no_link(self._objects / delta.sha256)
        if self._is_whole(folder, delta.sha256):
            return
        if folder.exists():
            log.warning("%s: is damaged and will be written again", folder)
            with contextlib.suppress(FileNotFoundError):  # another publisher may repair it as well
                remove_directory(folder)
        try:
            with atomic_directory(folder, StoreError, expected_bytes=delta.nbytes) as temporary:
                _check_unchanged(delta, delta.write_into(temporary))
        except StoreError:
            # Another process may have published the same content meanwhile; if so, all is well.
            if not self._is_whole(folder, delta.sha256):
                raise

    def load(self, sha256: str) -> MotionDelta:
        """See :class:`Shelf`."""
        folder = _no_link(self._objects / sha256)
        try:
            with faults_apart(folder, DeltaError, StoreError):
                return MotionDelta.load(folder)
        except DeltaError:
            self._check_there()
            raise

    def _is_whole(self, folder: Path, sha256: str) -> bool:
        try:
            with faults_apart(folder, DeltaError, StoreError):
                return MotionDelta.identify(folder) == sha256
        except DeltaError:
            return False

    def _check_there(self) -> None:
        with reading(self._refs, StoreError):
            there = self._refs.is_dir()
        self._presence.found(there)


class RemoteShelf:
    """Any fsspec filesystem, for example ``s3://bucket/motions``.

    Where the filesystem can create a file exclusively (S3 and GCS can), publishers get distinct
    versions as on a local disk. Where it cannot, two who publish the same new version at the same
    moment both succeed and the last one is kept. Deltas pass through the temporary folder of this
    machine (``TMPDIR``), which needs room for one.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")
        self._presence = _Presence(self._root)

    def names(self) -> list[str]:
        """See :class:`Shelf`."""
        names = self._list(f"{self._root}/refs")
        self._presence.found(bool(names))
        return sorted(names)

    def versions(self, name: str) -> list[int]:
        """See :class:`Shelf`."""
        entries = self._list(f"{self._root}/refs/{name}")
        self._presence.found(bool(entries or self.names()))
        return _versions(entries)

    def read_ref(self, name: str, version: int) -> bytes:
        """See :class:`Shelf`."""
        path = f"{self._root}/refs/{name}/{version}.json"
        with reading(Path(path), StoreError), reached(path, StoreError):
            return self._filesystem.read_block(path, 0, LARGEST_REF)

    def create_ref(self, name: str, version: int, data: bytes) -> bool:
        """See :class:`Shelf`."""
        return self._create(name, f"{version}.json", data)

    def withdraw(self, name: str, version: int) -> bool:
        """See :class:`Shelf`."""
        return self._create(name, f"{version}{WITHDRAWN}", b"")

    def _create(self, name: str, file: str, data: bytes) -> bool:
        folder = f"{self._root}/refs/{name}"
        with written(folder, StoreError):
            self._filesystem.makedirs(folder, exist_ok=True)
            try:
                self._filesystem.pipe_file(f"{folder}/{file}", data, mode="create")
            except FileExistsError:
                return False
        return True

    def put(self, delta: MotionDelta) -> None:
        """See :class:`Shelf`."""
        self.names()  # refuses a place that is gone
        if self._is_whole(delta.sha256):
            return
        # Several who upload the same delta at once can read each other's half-written files. The
        # content is the same, so whoever waits finds it whole, or writes it again alone.
        for attempt in range(UPLOADS):
            self._upload(delta)
            for _ in range(2):
                # Read back before a ref may name it.
                if self._is_whole(delta.sha256):
                    return
                time.sleep(random.uniform(0.5, 1.0) * 0.1 * 2**attempt)
        folder = f"{self._root}/objects/{delta.sha256}"
        raise StoreError(folder, "was changed while it was written", "publish again")

    def _upload(self, delta: MotionDelta) -> None:
        folder = f"{self._root}/objects/{delta.sha256}"
        with self._staging() as stage:
            delta.save(stage)
            _check_unchanged(delta, MotionDelta.identify(stage))
            # The manifest goes last: without it the object does not exist.
            files = sorted(stage.iterdir(), key=lambda file: file.name == MANIFEST)
            with written(folder, StoreError):
                self._filesystem.makedirs(folder, exist_ok=True)
                for file in files:
                    self._filesystem.put_file(f"{file}", f"{folder}/{file.name}")

    def load(self, sha256: str) -> MotionDelta:
        """See :class:`Shelf`."""
        with self._staging() as stage:
            self._fetch(sha256, stage)
            try:
                with faults_apart(stage, DeltaError, StoreError):
                    return MotionDelta.load(stage)
            except DeltaError:
                self.names()  # told apart from a place that is gone
                raise

    def _is_whole(self, sha256: str) -> bool:
        with self._staging() as stage:
            try:
                self._fetch(sha256, stage)
                with faults_apart(stage, DeltaError, StoreError):
                    return MotionDelta.identify(stage) == sha256
            except DeltaError:
                return False

    def _fetch(self, sha256: str, into: Path) -> None:
        folder = f"{self._root}/objects/{sha256}"
        into.mkdir()
        # A network that fails says nothing about the delta; a file that is gone will be missed.
        with reading(Path(folder), StoreError), reached(folder, StoreError):
            for name in self._list(folder):
                with contextlib.suppress(FileNotFoundError):
                    self._filesystem.get_file(f"{folder}/{name}", f"{into / name}")

    def _list(self, folder: str) -> list[str]:
        """Last parts of the paths in a folder; none if there is no such folder."""
        self._filesystem.invalidate_cache(folder)
        try:
            with reached(folder, StoreError):
                paths = self._filesystem.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        except OSError as fault:
            rule = f"cannot be read: {fault}"
            raise StoreError(folder, rule, "check the address and the credentials") from fault
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="motion_ray-") as folder:
            yield Path(folder) / "delta"


def _list(folder: Path) -> list[Path]:
    with reading(folder, StoreError):
        return list(folder.iterdir()) if folder.is_dir() else []


def _versions(names: list[str]) -> list[int]:
    there = set(names)
    found = [_REF_FILE.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    return sorted(number for number in numbers if f"{number}{WITHDRAWN}" not in there)


def _no_link(path: Path) -> Path:
    with reading(path, StoreError):
        link = path.is_symlink()
    if link:
        fix = "put the folder itself in its place"
        raise StoreError(f"{path}", "is a symbolic link, which is refused in a store", fix)
    return path


def _check_unchanged(delta: MotionDelta, written: str) -> None:
    if written != delta.sha256:
        rule = "its tensors were changed after it was made"
        raise DeltaError(f"delta {delta.header.name!r}", rule, "give MotionDelta copies of them")
