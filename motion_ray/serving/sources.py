"""Where the pool gets deltas from: a store, and for a distant store a local folder in between.

Whatever comes out was checked byte by byte against its manifest, and against the content id that
was asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError, PoolError, RunFolderError
from motion_ray.files import remove_directory, remove_stale
from motion_ray.locks import LOCK, only_process
from motion_ray.manifest import plain_files
from motion_ray.serving.tier import Tier, TierStatistics
from motion_ray.store import DeltaRecord, DeltaStore

log = logging.getLogger(__name__)

_CONTENT_ID = re.compile(r"[0-9a-f]{64}")


class DeltaSource(Protocol):
    """Something that deltas are loaded from; safe for threads."""

    def load(self, record: DeltaRecord) -> MotionDelta:
        """The delta of exactly this version, verified, in CPU memory.

        Raises:
            DeltaError: it is damaged, missing, or another one.
            StoreError: the store cannot be read.
        """
        ...


class StoreSource:
    """Straight from a store. For a store on a local disk this is all that is needed."""

    def __init__(self, store: DeltaStore) -> None:
        self._store = store

    def load(self, record: DeltaRecord) -> MotionDelta:
        """See :class:`DeltaSource`."""
        delta = self._store.load(record.reference)
        _check_identity(delta, record)
        return delta


class DiskCache:
    """Deltas of a distant store in a local folder, within a budget of bytes: the disk tier.

    Whatever is wrong with the folder, loading goes on from the source.

    Args:
        source: the distant one.
        folder: of this process alone; what an earlier one left in it is used. Made again if
            somebody removes it.
        budget: bytes.
        clock: seconds; a load's duration is what loading it again would cost.

    Raises:
        RunFolderError: another process uses the folder.
    """

    def __init__(
        self,
        source: DeltaSource,
        folder: Path,
        budget: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._folder, self._clock = source, Path(folder), clock
        self._tier: Tier[Path] = Tier("disk", budget)
        self._lock = threading.Lock()
        self._owned = contextlib.ExitStack()
        self._owned_file: tuple[int, int] | None = None
        self._own()
        remove_stale(self._folder)
        for entry in sorted(self._folder.iterdir()):
            if _CONTENT_ID.fullmatch(entry.name):
                size = sum(plain_files(entry, DeltaError).values())
                if self._make_room(entry.name, size):
                    self._tier.fill(entry.name, entry, 0.0)
                    self._tier.release(entry.name)
                else:
                    _remove(entry)

    def close(self) -> None:
        """Let another process have the folder."""
        self._owned.close()

    def statistics(self) -> TierStatistics:
        """Counts of this tier."""
        with self._lock:
            return self._tier.statistics()

    def load(self, record: DeltaRecord) -> MotionDelta:
        """See :class:`DeltaSource`."""
        delta = self._kept(record)
        if delta is None:
            started = self._clock()
            delta = self._source.load(record)
            self._keep(record.sha256, delta, self._clock() - started)
        return delta

    def _kept(self, record: DeltaRecord) -> MotionDelta | None:
        with self._lock:
            folder = self._tier.hold(record.sha256)
        if folder is None:
            return None
        delta = None
        try:
            found = MotionDelta.load(folder)
            _check_identity(found, record)
            delta = found
        except DeltaError as damage:
            log.warning("the disk tier's copy is loaded again: %s", damage)
        finally:
            with self._lock:
                self._tier.release(record.sha256)
                if delta is None and self._tier.drop(record.sha256) is not None:
                    _remove(folder)
        return delta

    def _keep(self, sha256: str, delta: MotionDelta, seconds: float) -> None:
        with self._lock:
            if self._tier.is_held(sha256) or sha256 in self._tier:
                return  # another thread loaded the same one
            if not self._make_room(sha256, delta.nbytes):
                return
        folder, saved = self._folder / sha256, False
        try:
            with self._lock:
                self._own()
            delta.save(folder)
            saved = True
        except (DeltaError, RunFolderError, OSError) as fault:
            # The disk may be full of other things; serving goes on without this copy.
            log.warning("not kept on disk: %s", fault)
        finally:
            with self._lock:
                if saved:
                    self._tier.fill(sha256, folder, seconds)
                    self._tier.release(sha256)
                else:
                    self._tier.cancel(sha256)

    def _own(self) -> None:
        """Have the folder for this process alone, also after somebody removed it.

        Raises:
            RunFolderError: another process uses it by now.
            OSError: it cannot be made.
        """
        # Not whether there is a lock file: it may be another process's by now.
        if self._owned_file is not None and self._owned_file == _identity(self._folder / LOCK):
            return
        self._owned.close()
        self._owned_file = None
        self._folder.mkdir(parents=True, exist_ok=True)
        self._owned.enter_context(only_process(self._folder, "folder for the disk tier"))
        self._owned_file = _identity(self._folder / LOCK)

    def _make_room(self, sha256: str, nbytes: int) -> bool:
        """Reserve bytes and remove what has to leave; false if that is not possible."""
        try:
            gone = self._tier.reserve(sha256, nbytes)
        except PoolError as full:
            log.info("not kept on disk: %s", full)
            return False
        for _, folder in gone:
            _remove(folder)
        return True


def _remove(folder: Path) -> None:
    """Remove a copy that counts no longer; if that fails, it is logged, and serving goes on."""
    try:
        remove_directory(folder)
    except FileNotFoundError:
        log.info("%s was removed by somebody else", folder)
    except OSError as fault:
        log.warning("%s: could not be removed, and takes up room: %s", folder, fault)


def _identity(file: Path) -> tuple[int, int] | None:
    """Device and inode of a file, which nothing else has while it is open; null if it is gone."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _check_identity(delta: MotionDelta, record: DeltaRecord) -> None:
    if delta.sha256 != record.sha256:
        rule = f"content {delta.sha256[:8]}.. was loaded, {record.sha256[:8]}.. was asked for"
        raise DeltaError(f"motion {record.reference}", rule, "publish the motion again")
