"""Keeping a second process out of a folder, or of a file, that one is working on."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from motion_ray.errors import FolderBusyError, RunFolderError

LOCK = ".lock"


@contextlib.contextmanager
def only_process(folder: Path, option: str) -> Iterator[None]:
    """Hold an existing folder while the context lives.

    Args:
        folder: it gets a hidden, empty file.
        option: what names the folder on the command line, for the message.

    Raises:
        FolderBusyError: another process holds it.
        RunFolderError: its storage knows no locks.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            # The kernel drops the lock with the process, so a killed run leaves none behind.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(
                folder,
                "another process is running in this folder",
                f"wait for it, or choose another {option}",
            ) from None
        except OSError as fault:
            raise RunFolderError(
                folder,
                f"is on storage that cannot lock files ({(fault.strerror or str(fault)).lower()})",
                f"mount it with locking, or choose another {option}",
            ) from fault
        yield


@contextlib.contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Wait until nobody else is between reading a file and replacing it, and keep others waiting.

    Args:
        file: need not exist; its folder is made, and gets a hidden, empty file beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not the file itself: a writer replaces it, and would hold the lock of one that is gone.
    with (file.parent / f".{file.name}{LOCK}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
