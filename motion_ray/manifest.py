"""The manifest of a directory: sha256 and size of every file in it, and the check against it.

safetensors has no checksum of its own (most flipped bits load silently wrong), so a directory that
we load from is compared with its ``manifest.json`` first. A manifest is written last: without one,
a directory is unfinished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motion_ray.errors import BaseModelError, MotionRayError

MANIFEST = "manifest.json"
FORMAT = "motion_ray.manifest/1"
LARGEST = 16 * 2**20  # bytes; far above any real manifest, so that a hostile one is not read
HASH_THREADS = 4  # hashlib releases the interpreter lock
OTHER_COPY = "use another copy of it"
_SYSTEM_FAULT = re.compile(r"\(os error \d+\)$")  # as libraries in Rust write it


@dataclass(frozen=True)
class ManifestEntry:
    """What a manifest says about one file.

    Attributes:
        sha256: hexadecimal digest of the content.
        size: bytes.
    """

    sha256: str
    size: int


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no NaN, a line feed at the end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_limited(path: Path, limit: int) -> bytes:
    """Content of a plain file, at most ``limit`` bytes of it.

    Raises:
        OSError: it cannot be read, or is a symbolic link.
    """
    with os.fdopen(_open_plain(path), "rb") as stream:
        return stream.read(limit)


def describe(directory: Path, error: type[MotionRayError]) -> str:
    """Text of the manifest of a directory that has none yet; hashes every file below it.

    Raises:
        error: something in it is not a plain file.
        OSError: a file cannot be read.
    """
    sizes = plain_files(directory, error)
    digests = _digests(directory, sizes)
    return _text({name: ManifestEntry(digests[name], size) for name, size in sizes.items()})


def verify_manifest(
    directory: Path, error: type[MotionRayError], *, contents: bool = True
) -> dict[str, ManifestEntry]:
    """Compare a directory with its manifest.

    Args:
        directory: written by :func:`motion_ray.files.atomic_directory`.
        error: raised for the first difference, naming the file.
        contents: also hash every file; False compares names and sizes only.

    Returns:
        The manifest: relative path to size and sha256.

    Raises:
        error: a file is missing, extra, a link, of another size or of other content, or the
            manifest itself is missing or damaged.
    """
    directory = Path(directory)
    with reading(directory, error):
        sizes = plain_files(directory, error)
        entries = _read(directory, error, sizes)
        _compare_names(directory, error, set(sizes) - {MANIFEST}, set(entries))
        for name, entry in entries.items():
            if sizes[name] != entry.size:
                rule = f"is damaged: {sizes[name]} bytes instead of {entry.size}"
                raise error(f"{directory / name}", rule, OTHER_COPY)
        digests = _digests(directory, entries) if contents else {}
        for name, digest in digests.items():
            if digest != entries[name].sha256:
                rule = "is damaged: its content changed (sha256 differs from the manifest's)"
                raise error(f"{directory / name}", rule, OTHER_COPY)
    return entries


@contextlib.contextmanager
def reading(path: Path, error: type[MotionRayError]) -> Iterator[None]:
    """Turn the system's errors while reading from ``path`` into ``error``."""
    try:
        yield
    except OSError as fault:
        where = fault.filename if isinstance(fault.filename, str) else path
        rule = f"cannot be read: {(fault.strerror or str(fault)).lower()}"
        raise error(f"{where}", rule, "check the path and its permissions") from fault


def may_pass(error: MotionRayError) -> bool:
    """Whether what was read met a fault of the system, which says nothing about the content.

    Args:
        error: with its cause, which a copy of it has not: to be asked where it is first caught.
    """
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError | NotADirectoryError):
        # safetensors says so, without a number, whatever kept it from opening a file (EMFILE too).
        return cause.errno is None
    if isinstance(cause, OSError):
        return True
    # safetensors tells a failed read as a text. A ValueError's text may be the content's own.
    return not isinstance(cause, ValueError) and _SYSTEM_FAULT.search(str(cause)) is not None


@contextlib.contextmanager
def faults_apart(
    path: Path, error: type[MotionRayError], passing: type[MotionRayError]
) -> Iterator[None]:
    """Have faults that :func:`may_pass` leave as another class than flaws of the content.

    Args:
        path: what is read.
        error: what the reader raises for both.
        passing: for the faults.

    Raises:
        passing: the system cannot read it at this moment.
    """
    try:
        yield
    except error as fault:
        if may_pass(fault):
            rule = f"cannot be read now ({fault})"
            raise passing(f"{path}", rule, "check the disk or the network, try again") from fault
        raise


def plain_files(directory: Path, error: type[MotionRayError], prefix: str = "") -> dict[str, int]:
    """Relative path to size in bytes of everything below a directory, in sorted order.

    Raises:
        error: something is neither a plain file nor a directory, for example a symbolic link.
        OSError: it cannot be listed.
    """
    found: dict[str, int] = {}
    with os.scandir(directory) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            found |= plain_files(directory / entry.name, error, f"{prefix}{entry.name}/")
        elif stat.S_ISREG(status.st_mode):
            found[prefix + entry.name] = status.st_size
        else:
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a plain file"
            fix = "put the file itself in its place"
            raise error(f"{directory / entry.name}", f"is {kind}, which is refused here", fix)
    return found


def _open_plain(path: Path) -> int:
    # A link put in place of a checked file between listing and reading is refused as well.
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    def digest(name: str) -> str:
        with os.fdopen(_open_plain(directory / name), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    ordered = sorted(names)
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        return dict(zip(ordered, pool.map(digest, ordered), strict=True))


def _text(entries: dict[str, ManifestEntry]) -> str:
    files = {name: asdict(entry) for name, entry in entries.items()}
    return canonical_json({"format": FORMAT, "files": files})


def _read(
    directory: Path, error: type[MotionRayError], sizes: dict[str, int]
) -> dict[str, ManifestEntry]:
    where = f"{directory / MANIFEST}"
    if MANIFEST not in sizes:
        rule = "is missing: the folder is unfinished, or motion_ray did not write it"
        raise error(where, rule, OTHER_COPY)
    if sizes[MANIFEST] > LARGEST:
        raise error(where, f"is damaged: {sizes[MANIFEST]} bytes", OTHER_COPY)
    data = read_limited(directory / MANIFEST, LARGEST)
    try:
        files = json.loads(data)["files"].items()
        entries = {str(n): ManifestEntry(str(e["sha256"]), int(e["size"])) for n, e in files}
        # Nothing else covers the manifest itself, so only the exact text that we write is accepted.
        intact = _text(entries).encode() == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact, entries = False, {}
    if not intact:
        raise error(where, "is damaged: not a manifest as motion_ray writes it", OTHER_COPY)
    return entries


def _compare_names(
    directory: Path, error: type[MotionRayError], found: set[str], declared: set[str]
) -> None:
    if missing := sorted(declared - found):
        rule = "is missing, though the manifest names it"
        raise error(f"{directory / missing[0]}", rule, OTHER_COPY)
    if extra := sorted(found - declared):
        rule = "does not belong here: the manifest does not name it"
        raise error(f"{directory / extra[0]}", rule, "remove it")


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder.

    Raises:
        BaseModelError: it cannot be read, or is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            str(path), f"is no readable JSON: {error}", "use another copy"
        ) from None
    if not isinstance(values, dict):
        raise BaseModelError(str(path), "is no JSON object", "use another copy")
    return values
