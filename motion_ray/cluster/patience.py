"""Bearing with storage that fails for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType

from motion_ray.errors import LedgerError, MirrorError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0


class Patience:
    """A context that lets errors of a sweep's storage pass until they have lasted for long.

    What is tried in it must bear being tried again.

    Args:
        what: cannot be done meanwhile, for the log.
        clock: seconds, monotonic.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._clock = what, clock
        self._failing: float | None = None  # since when

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Swallow an error of the storage, unless all were for :data:`PATIENCE_SECONDS`."""
        if error is None:
            self._failing = None
        if not isinstance(error, LedgerError | MirrorError):
            return False
        if self._failing is None:
            self._failing = self._clock()
            logger.warning("%s: %s", self._what, error)
        return self._clock() - self._failing <= PATIENCE_SECONDS
