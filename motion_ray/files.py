"""How bytes get to disk so that a crash, a kill -9 or a full disk never leaves half of something.

Write a temporary in the same directory, write all, fsync every file, write the manifest last,
rename, fsync the parent directory. A rename alone is atomic but not durable. A failed fsync fails
the save and is not retried, because the kernel may have dropped the pages it could not write.
Temporaries are named after their writer (:mod:`motion_ray.temporaries`) and removed once that
writer is dead.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from motion_ray.errors import MotionRayError
from motion_ray.manifest import MANIFEST, describe, plain_files
from motion_ray.temporaries import is_temporary, temporary_name, writer_is_gone

log = logging.getLogger(__name__)

ANYBODY = 0o666  # mode of a new file, before the umask
FULL_BELOW = 64 * 2**10  # bytes free on a disk that counts as full
STORAGE_FAULTS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE}
)


# --- single files ---------------------------------------------------------------------------------


def write_bytes_atomic(
    path: Path,
    data: bytes,
    error: type[MotionRayError] = MotionRayError,
    *,
    mode: int = ANYBODY,
) -> None:
    """Replace a file durably: a reader sees the old content or the new one.

    Args:
        path: the file; missing parent directories are made.
        data: its whole content.
        error: raised when the disk is full, broken or read-only.
        mode: as for :func:`write_new_file`.
    """
    path = Path(path)
    with _temporary_beside(path, error) as temporary:
        write_new_file(temporary, [data], mode)
        os.replace(temporary, path)
        fsync_directory(path.parent)


def write_text_atomic(path: Path, text: str, error: type[MotionRayError] = MotionRayError) -> None:
    """:func:`write_bytes_atomic` for text, as UTF-8."""
    write_bytes_atomic(path, text.encode(), error)


def create_bytes_exclusive(
    path: Path, data: bytes, error: type[MotionRayError] = MotionRayError
) -> bool:
    """Create a file durably unless it exists; of several writers exactly one succeeds.

    Args:
        path: the file; missing parent directories are made.
        data: its whole content.
        error: raised when the disk is full, broken or read-only.

    Returns:
        False, with the file untouched, if it was already there.
    """
    path = Path(path)
    with _temporary_beside(path, error) as temporary:
        write_new_file(temporary, [data])
        try:
            # A link makes the file appear with its whole content, which O_EXCL would not.
            os.link(temporary, path)
        except FileExistsError:
            return False
        fsync_directory(path.parent)
        return True


def write_new_file(path: Path, chunks: Iterable[bytes | memoryview], mode: int = ANYBODY) -> None:
    """Write a file that must not exist, piece by piece, and fsync it.

    Args:
        path: the file.
        chunks: its content.
        mode: who may use it, from the first byte on; less what the umask takes away.

    Raises:
        OSError: as the system reports it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        for chunk in chunks:
            _write_all(descriptor, chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        # A write may be short (near a full disk, or above 2 GiB); the next call then tells why.
        written = os.write(descriptor, rest)
        if written == 0:
            raise OSError(errno.EIO, "a write made no progress")
        rest = rest[written:]


# --- directories ----------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_directory(
    final: Path,
    error: type[MotionRayError] = MotionRayError,
    *,
    expected_bytes: int = 0,
    consequence: str = "",
) -> Iterator[Path]:
    """A new directory that appears complete, with its manifest, or not at all.

    Yields a temporary directory beside ``final``, to be filled with plain files. On success every
    file is fsynced, the manifest is written last, the directory is renamed and its parent fsynced.
    On an error, or Ctrl-C, the temporary is removed. (If nothing but the parent's fsync fails, the
    error is raised and the complete directory stays.)

    Args:
        final: must not exist, or be an empty directory.
        error: raised instead of the system's error when the disk is full, broken or read-only.
        expected_bytes: size of a similar directory, to say how much space to free.
        consequence: what the user still has, e.g. ``"the previous checkpoint is still loadable"``.
    """
    final = Path(final)
    with _temporary_beside(final, error, expected_bytes, consequence) as temporary:
        if os.path.lexists(final) and not _is_empty_directory(final):
            raise error(f"{final}", "already exists", "choose another name, or remove it first")
        os.mkdir(temporary)
        yield temporary
        _seal(temporary, error)
        os.rename(temporary, final)
        fsync_directory(final.parent)


def remove_directory(directory: Path) -> None:
    """Remove a directory so that a crash in the middle leaves no half of it under its name.

    Raises:
        OSError: as the system reports it.
    """
    hidden = directory.parent / temporary_name(directory.name)
    os.rename(directory, hidden)
    fsync_directory(directory.parent)
    shutil.rmtree(hidden)


def remove_stale(parent: Path) -> list[str]:
    """Remove the temporaries that dead writers left in a directory; returns their names.

    What cannot be removed is logged and stays; what a living process writes is not touched.
    """
    if not parent.is_dir():
        return []
    names = [name for name in os.listdir(parent) if is_temporary(name)]
    stale = [name for name in names if writer_is_gone(parent / name)]
    for name in stale:
        log.info("removing %s, left by a writer that is gone", parent / name)
        _discard(parent / name)
    return stale


def fsync_directory(directory: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: as the system reports it.
    """
    try:
        _fsync(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as fault:
        if fault.errno != errno.EINVAL:
            raise
        # Some network filesystems have no such operation at all, which is not a failure of it.
        log.debug("%s: this filesystem cannot fsync a directory", directory)


def _seal(directory: Path, error: type[MotionRayError]) -> None:
    """Make the content durable, then describe it: a manifest names only bytes that are on disk."""
    names = plain_files(directory, error)
    if MANIFEST in names:
        raise ValueError(f"{MANIFEST} is written here, the caller must not write it")
    for name in names:
        _fsync(directory / name, os.O_RDONLY | os.O_NOFOLLOW)
    write_new_file(directory / MANIFEST, [describe(directory, error).encode()])
    for folder in [entry for entry in directory.rglob("*") if entry.is_dir()]:
        fsync_directory(folder)
    fsync_directory(directory)


def _make_directories(directory: Path) -> None:
    """``mkdir -p`` whose new entries survive a crash as well."""
    if directory.is_dir():
        return
    _make_directories(directory.parent)
    with contextlib.suppress(FileExistsError):  # another process may make it in this moment
        os.mkdir(directory)
    fsync_directory(directory.parent)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


# --- temporaries and errors -----------------------------------------------------------------------


@contextlib.contextmanager
def faults_explained(
    folder: Path, error: type[MotionRayError] = MotionRayError, consequence: str = ""
) -> Iterator[None]:
    """Faults of the storage leave as ``error``, for what is not written through this file: a log
    that grows, a library's own file. Arguments as for :func:`atomic_directory`.
    """
    try:
        yield
    except OSError as fault:
        cause = _storage_fault(fault, folder / MANIFEST)
        if cause is None:
            raise
        raise error(f"{folder}", *_explain(cause, folder, 0, consequence)) from fault


@contextlib.contextmanager
def _temporary_beside(
    final: Path, error: type[MotionRayError], expected_bytes: int = 0, consequence: str = ""
) -> Iterator[Path]:
    """An unused name in the directory of ``final``. What has that name at the end is removed.

    Faults of the storage leave as ``error``; everything else leaves as it came.
    """
    temporary = final.parent / temporary_name(final.name)
    try:
        _make_directories(final.parent)
        yield temporary
    except BaseException as fault:
        # Looked at while the temporary still fills the disk: once it is gone there is space again.
        cause = _storage_fault(fault, final)
        needed = max(expected_bytes, bytes_below(temporary))
        _discard(temporary)
        if cause is None:
            raise
        raise error(f"{final}", *_explain(cause, final.parent, needed, consequence)) from fault
    else:
        _discard(temporary)


def _discard(path: Path) -> None:
    """Remove a temporary if it is there. A failure is only logged: often an error is on its way."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as fault:
        log.warning("%s: could not be removed: %s", path, fault)


def _storage_fault(fault: BaseException, final: Path) -> OSError | None:
    """The disk's part in an exception, or None if it has none."""
    if isinstance(fault, MotionRayError) or not isinstance(fault, Exception):
        return None
    if isinstance(fault, OSError):
        ours = isinstance(fault.filename, str | Path) and _related(Path(fault.filename), final)
        return fault if ours or fault.errno in STORAGE_FAULTS else None
    # Writers in other languages report a full disk in their own way: safetensors as a text with the
    # system's number, torch.save as a wrong position in a zip archive.
    found = re.search(r"\(os error (\d+)\)", str(fault))
    if found and int(found[1]) in STORAGE_FAULTS:
        return OSError(int(found[1]), os.strerror(int(found[1])))
    if shutil.disk_usage(_existing(final)).free < FULL_BELOW:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def _related(path: Path, final: Path) -> bool:
    """Whether a path lies in the directory of ``final``, or is one of its parents."""
    return final.parent in (path, *path.parents) or path in final.parents


def _explain(cause: OSError, directory: Path, needed: int, consequence: str) -> tuple[str, str]:
    """Rule and fix for something that could not be written. ``needed`` is in bytes."""
    existing = _existing(directory)
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        mount = next(each for each in (existing, *existing.parents) if os.path.ismount(each))
        lacking = max(1, math.ceil((needed - shutil.disk_usage(existing).free) / 1e6))
        full = "the disk is full" if cause.errno == errno.ENOSPC else "the disk quota is used up"
        rule, fix = f"cannot be written: {full}", f"free at least {lacking} MB on {mount}"
    elif cause.errno in (errno.EEXIST, errno.ENOTEMPTY):
        rule, fix = "already exists: another process wrote it meanwhile", "choose another name"
    else:
        rule = f"cannot be written: {(cause.strerror or str(cause)).lower()}"
        fix = f"check the disk and the permissions of {existing}, then run the same command again"
    return rule, f"{fix}; {consequence}" if consequence else fix


def _existing(path: Path) -> Path:
    """The path, made absolute, or the nearest of its parents that exists."""
    absolute = path.absolute()
    return next(each for each in (absolute, *absolute.parents) if os.path.exists(each))


def bytes_below(path: Path) -> int:
    """Bytes in a file or directory, which may not exist."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)
