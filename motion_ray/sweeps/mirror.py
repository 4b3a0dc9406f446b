"""A copy of a run folder on storage that outlives the machine it runs on.

A trial of a sweep whose ``--out`` is an address works in a folder of its own machine. What it needs
to go on elsewhere is copied at every validation and checkpoint: first files, each under the sha256
of its content, then a *snapshot* that lists them, created whole and last. So a copy is always that
of one moment, whenever the writer is killed. Every attempt writes snapshots and files under its own
number, and the highest number counts: a process that was given up for lost can neither disturb a
later attempt nor be taken for it. So that it cannot remove what its successor is still reading, an
attempt *claims* the mirror first; from then on whoever came before writes and removes nothing more,
except for what it is in the middle of, and that spares its own newest snapshot.

::

    snapshots/000002.000000.json   attempt 2 has begun; no copy of anything
    snapshots/000002.000007.json   attempt, number: path -> sha256, size, place of the content
    objects/000002/<sha256>        written by attempt 2
    report.html samples/ ...       of a finished run, under their own names, for people
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from motion_ray.errors import MirrorError
from motion_ray.manifest import canonical_json, plain_files, sha256_of
from motion_ray.sweeps.place import open_place
from motion_ray.temporaries import is_temporary, temporary_name

log = logging.getLogger(__name__)

KEPT = 2  # snapshots of the attempt that writes; a reader may be at the older one
CLAIM = 0  # number of the snapshot that is none: it only says that an attempt has begun
LOCAL = ("cache", "store")  # shared on the machine, and published elsewhere
CHECKPOINTS = "checkpoints/"
FOR_PEOPLE = ("report.html", "result.json", "run.json", "metrics.jsonl", "samples/")
_NAME = re.compile(r"(\d{6})\.(\d{6})\.json")


@dataclass(frozen=True)
class Copied:
    """A file of a snapshot.

    Attributes:
        sha256: of its content.
        size: bytes.
        place: where the content lies in the mirror.
    """

    sha256: str
    size: int
    place: str


Snapshot = Mapping[str, Copied]  # path in the run folder, ``/`` between its parts
_SNAPSHOT: TypeAdapter[dict[str, Copied]] = TypeAdapter(dict[str, Copied])


class RunMirror:
    """The copy of one run.

    Args:
        uri: its folder; a local path or an fsspec URI.
        attempt: number of the attempt that writes; 0 only reads.

    Raises:
        MirrorError: no filesystem is installed for the URI.
    """

    def __init__(self, uri: str, attempt: int = 0) -> None:
        self.uri, self._attempt = uri, attempt
        self._place = open_place(uri, MirrorError)
        self._number = 0
        self._places: dict[str, str] = {}  # sha256 to where such a content lies
        self._seen: dict[str, tuple[int, int, str]] = {}  # path to size, time and sha256

    # --- the attempt that writes ------------------------------------------------------------------

    def begin(self, folder: Path) -> None:
        """Tell earlier attempts that they are over, and bring the newest copy into a run folder.

        Args:
            folder: of the run on this machine; the caller alone uses it. What it holds beside the
                copy is removed, unless there is none yet, and so are files half brought.

        Raises:
            MirrorError: the storage fails, a later attempt runs, or no copy is whole.
        """
        self._create(CLAIM, {})  # before anything is read, or it could be removed meanwhile
        _remove_half_brought(folder)
        snapshot = self._restore(folder, lambda path: True)
        if snapshot:
            for path in plain_files(folder, MirrorError).keys() - snapshot.keys():
                if _is_copied(path):
                    (folder / path).unlink()
        self._places = {each.sha256: each.place for each in snapshot.values()}
        self._write(snapshot)

    def push(self, folder: Path, *, checkpoints: bool = True) -> None:
        """Copy a run folder as it is now; only what is new is sent.

        Args:
            folder: of the run; nobody changes it meanwhile.
            checkpoints: False leaves them out: nothing follows a finished run.

        Raises:
            MirrorError: the storage fails, or a later attempt has taken over.
        """
        files: dict[str, Copied] = {}
        for path, size in plain_files(folder, MirrorError).items():
            if not _is_copied(path) or (path.startswith(CHECKPOINTS) and not checkpoints):
                continue
            digest = self._digest(folder, path, size)
            if digest not in self._places:
                place = f"objects/{self._attempt:06d}/{digest}"
                self._place.upload(place, folder / path)
                self._places[digest] = place
            files[path] = Copied(digest, size, self._places[digest])
        self._write(files)
        self._prune(KEPT if checkpoints else 1)

    def show(self, folder: Path) -> None:
        """Put what people look at of a finished run under its own name.

        Raises:
            MirrorError: the storage fails.
        """
        for path in plain_files(folder, MirrorError):
            if path.startswith(FOR_PEOPLE):
                self._place.upload(path, folder / path)

    # --- whoever reads ----------------------------------------------------------------------------

    def fetch(self, folder: Path, wanted: Callable[[str], bool]) -> bool:
        """Bring files of the newest copy into a folder; False if there is none.

        Args:
            folder: made if need be; files that are there already are not sent again.
            wanted: whether a path is to be brought.

        Raises:
            MirrorError: the storage fails, or no copy is whole.
        """
        return bool(self._restore(folder, wanted))

    # --- snapshots --------------------------------------------------------------------------------

    def _restore(self, folder: Path, wanted: Callable[[str], bool]) -> Snapshot:
        """Make a folder hold what the newest whole snapshot has; empty if there are none."""
        damage: MirrorError | None = None
        tried: set[tuple[int, int]] = set()
        # Listed anew each time: the writer may have gone on and removed what was just read of.
        while untried := [
            each for each in self._snapshots() if each[1] != CLAIM and each not in tried
        ]:
            tried.add(untried[-1])
            try:
                snapshot = self._read(*untried[-1])
                for path, copied in snapshot.items():
                    if wanted(path):
                        self._bring(copied, folder / path)
            except MirrorError as error:
                log.warning("another copy is tried: %s", error)
                damage = damage or error
                continue
            return snapshot
        if damage is not None:
            raise damage
        return {}

    def _bring(self, copied: Copied, target: Path) -> None:
        there = target.is_file() and target.stat().st_size == copied.size
        if there and sha256_of(target) == copied.sha256:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / temporary_name(target.name)
        where = f"{self.uri}/{copied.place}"
        try:
            if not self._place.download(copied.place, temporary):
                raise MirrorError(where, "is missing, though a snapshot names it", "restore it")
            if sha256_of(temporary) != copied.sha256:
                raise MirrorError(where, "is damaged: its content changed", "restore it")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)  # in a checkpoint, it would make that one unusable

    def _write(self, snapshot: Snapshot) -> None:
        """Create the next snapshot of this attempt."""
        self._number += 1
        self._create(self._number, snapshot)

    def _create(self, number: int, snapshot: Snapshot) -> None:
        self._refuse_if_succeeded(self._snapshots())
        path = _path(self._attempt, number)
        content = {name: asdict(copied) for name, copied in snapshot.items()}
        if not self._place.create(path, canonical_json(content).encode()):
            rule = "was written by another process with the same number of attempt"
            raise MirrorError(f"{self.uri}/{path}", rule, "run the same command again")

    def _read(self, attempt: int, number: int) -> Snapshot:
        path = _path(attempt, number)
        data = self._place.read(path)
        try:
            snapshot = _SNAPSHOT.validate_json(data or b"")
        except ValidationError as fault:
            rule = "is no snapshot"
            raise MirrorError(f"{self.uri}/{path}", rule, "restore it") from fault
        # Whoever can write to the storage must not choose files of this machine.
        strange = [name for name in snapshot if not _stays_inside(name)]
        if strange:
            rule = f"names {strange[0]!r}, which is not in a run folder"
            raise MirrorError(f"{self.uri}/{path}", rule, "restore it")
        return snapshot

    def _snapshots(self) -> list[tuple[int, int]]:
        found = [_NAME.fullmatch(name) for name in self._place.names("snapshots")]
        return sorted((int(name[1]), int(name[2])) for name in found if name)

    def _refuse_if_succeeded(self, snapshots: list[tuple[int, int]]) -> None:
        last = max((attempt for attempt, _ in snapshots), default=0)
        if last > self._attempt:
            rule = f"attempt {last} has taken over from attempt {self._attempt}"
            raise MirrorError(self.uri, rule, "nothing has to be done")

    def _prune(self, keep: int) -> None:
        """Remove what only older snapshots need. First those: none ever names what is not there.

        A later attempt that claims the mirror before this looks is left alone; one that does so
        afterwards begins with the newest snapshot of this attempt, which stays.
        """
        snapshots = self._snapshots()
        self._refuse_if_succeeded(snapshots)
        kept = [each for each in snapshots if each[0] == self._attempt][-keep:]
        for attempt, number in snapshots:
            if (attempt, number) not in kept:
                self._place.remove(_path(attempt, number))
        needed = {copied.place for each in kept for copied in self._read(*each).values()}
        for attempt in self._place.names("objects"):
            if attempt > f"{self._attempt:06d}":
                continue  # of a later attempt, whose snapshots were not looked at
            for digest in self._place.names(f"objects/{attempt}"):
                place = f"objects/{attempt}/{digest}"
                if place not in needed:
                    self._place.remove(place)
        self._places = {sha: place for sha, place in self._places.items() if place in needed}

    def _digest(self, folder: Path, path: str, size: int) -> str:
        """Of a file; read again only if it has changed, for checkpoints have gigabytes."""
        changed = (folder / path).stat().st_mtime_ns
        known = self._seen.get(path)
        if known is None or known[:2] != (size, changed):
            known = self._seen[path] = (size, changed, sha256_of(folder / path))
        return known[2]


def _path(attempt: int, number: int) -> str:
    return f"snapshots/{attempt:06d}.{number:06d}.json"


def _remove_half_brought(folder: Path) -> None:
    """Remove files that a killed attempt was bringing; only the caller uses the folder."""
    for path in plain_files(folder, MirrorError) if folder.is_dir() else ():
        if path.split("/")[0] not in LOCAL and is_temporary(path.rpartition("/")[2]):
            (folder / path).unlink()


def _stays_inside(path: str) -> bool:
    return "\\" not in path and not {"", ".", ".."}.intersection(path.split("/"))


def _is_copied(path: str) -> bool:
    """Whether a file belongs to the run: no lock, no half-written file, nothing kept elsewhere."""
    parts = path.split("/")
    return parts[0] not in LOCAL and not any(part.startswith(".") for part in parts)
