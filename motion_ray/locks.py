"""Keeping a second process out of a folder that one is working in."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from motion_ray.errors import RunFolderError

LOCK = ".lock"


@contextlib.contextmanager
def only_process(folder: Path, option: str) -> Iterator[None]:
    """Hold an existing folder while the context lives.

    Args:
        folder: it gets a hidden, empty file.
        option: what names the folder on the command line, for the message.

    Raises:
        RunFolderError: another process holds it.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            # The kernel drops the lock with the process, so a killed run leaves none behind.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                folder,
                "another process is running in this folder",
                f"wait for it, or choose another {option}",
            ) from None
        yield
