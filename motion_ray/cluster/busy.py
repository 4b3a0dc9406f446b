"""Waiting for a folder that a lost worker may still hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from motion_ray.errors import FolderBusyError

T = TypeVar("T")

logger = logging.getLogger(__name__)

BUSY_SECONDS = 90.0  # a lost worker may hold its folder until its node is known to be dead
LOOK_SECONDS = 0.2


def when_free(work: Callable[[], T]) -> T:
    """Do something as soon as its folder is free; returns what it returns.

    Args:
        work: called again if it raises :class:`~motion_ray.errors.FolderBusyError`.

    Raises:
        FolderBusyError: another process has held the folder for :data:`BUSY_SECONDS`.
    """
    begun = time.monotonic()
    told = False
    while True:
        try:
            return work()
        except FolderBusyError as error:
            if time.monotonic() - begun > BUSY_SECONDS:
                raise
            if not told:
                logger.warning("waiting for at most %.0f s: %s", BUSY_SECONDS, error)
                told = True
            time.sleep(LOOK_SECONDS)
