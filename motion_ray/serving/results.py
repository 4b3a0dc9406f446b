"""Videos of jobs in a folder, and keeping folder and job store in step.

A video is written under a name of its own for every attempt, and belongs to a job only once the
store says so. What a killed worker left belongs to nobody and is removed after a while; when the
time of a job is over its row goes first, so that no row ever promises a video that is gone.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Set
from pathlib import Path

from motion_ray.errors import JobStoreError
from motion_ray.files import remove_stale
from motion_ray.manifest import sha256_of
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Claim, Job, JobResult
from motion_ray.temporaries import temporary_name

log = logging.getLogger(__name__)

SWEEP_S = 600.0  # between two looks at the whole folder: what is left over is in nobody's way

_NAME = re.compile(r"video_[0-9a-f]{32}\.[0-9]{1,9}\.mp4")


class ResultFolder:
    """The folder; any number of processes may share it.

    Args:
        root: made if it does not exist.
        grace_s: seconds before a file that belongs to no job is removed: the time between writing
            a video and telling the store must be shorter.
        clock: unix seconds; null: that of the storage, as file times are, which need not be this
            machine's.
    """

    def __init__(
        self, root: Path, *, grace_s: float = 3600.0, clock: Callable[[], float] | None = None
    ) -> None:
        self._root, self._grace_s, self._clock = Path(root), grace_s, clock
        self._root.mkdir(parents=True, exist_ok=True)
        remove_stale(self._root)

    def keep(self, claim: Claim, write: Callable[[Path], object]) -> JobResult:
        """Write a video.

        Args:
            claim: the attempt that made it.
            write: writes the file it is given, all or nothing
                (:func:`motion_ray.data.video.write_video` does).

        Returns:
            What to tell the store.
        """
        name = f"{claim.job}.{claim.attempt}.mp4"
        path = self.path(name)
        write(path)
        return JobResult(name, path.stat().st_size, sha256_of(path))

    def path(self, name: str) -> Path:
        """Where a video lies.

        Raises:
            JobStoreError: this is no name of a video.
        """
        if _NAME.fullmatch(name) is None:
            raise JobStoreError(f"result {name[:80]!r}", "is not the name of a video")
        return self._root / name

    def remove(self, name: str) -> None:
        """Remove a video; nothing happens if it is gone."""
        self.path(name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """All videos that are here."""
        return {entry.name for entry in self._root.iterdir() if _NAME.fullmatch(entry.name)}

    def sweep(self, names: Set[str], kept: Set[str]) -> list[str]:
        """Remove what belongs to no job and is old enough to be left over.

        Args:
            names: from :meth:`names`, before the store was asked.
            kept: videos that belong to a job.

        Returns:
            What was removed.
        """
        removed = []
        now = self._now()
        for name in sorted(names - kept):
            path = self.path(name)
            try:
                age = now - path.stat().st_mtime
            except FileNotFoundError:
                continue  # another process sweeps as well
            if age > self._grace_s:
                path.unlink(missing_ok=True)
                removed.append(name)
        remove_stale(self._root)
        return removed

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        probe = self._root / temporary_name("now")
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:  # such as a disk that is full, where there is the more to be swept
            return time.time()
        finally:
            probe.unlink(missing_ok=True)


def tidy(store: JobStore, results: ResultFolder) -> list[Job]:
    """What has to be done by some process a few times in a claim's length: see to jobs whose worker
    went silent, and remove those whose time is over.

    Returns:
        Jobs that changed: queued again because their worker went silent, or failed.
    """
    changed = store.recover()
    for name in store.expire():
        results.remove(name)
    return changed


def sweep(store: JobStore, results: ResultFolder) -> None:
    """What has to be done by some process every :data:`SWEEP_S` seconds: remove videos that belong
    to no job. It looks at every video that there is.
    """
    names = results.names()
    for name in results.sweep(names, store.results()):
        log.info("removed %s, which belongs to no job", name)
