"""Single flight: of many who want the same thing loaded at the same moment, one loads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")


class _Abandoned(Exception):
    """The loading thread was interrupted (Ctrl-C), which says nothing about the thing."""


class SingleFlight(Generic[R]):
    """Runs work once per key at a time; others who ask meanwhile wait for its end."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Future[R]] = {}
        self._lock = threading.Lock()
        self._joined = 0

    @property
    def joined(self) -> int:
        """How often somebody waited for another one's work."""
        return self._joined

    def run(self, key: Hashable, work: Callable[[], R]) -> tuple[R, bool]:
        """The result of ``work``, and whether it ran in this call.

        Raises:
            Exception: what ``work`` raised, in every waiting thread.
        """
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None:
                    mine = self._flights[key] = Future()
                    break
                self._joined += 1
            try:
                return flight.result(), False
            except _Abandoned:
                continue
            finally:
                del flight  # see below
        try:
            result = work()
        except BaseException as fault:
            self._land(key)
            mine.set_exception(fault if isinstance(fault, Exception) else _Abandoned())
            # The fault's frames would hold the future that holds the fault: a cycle, and with it
            # what was half loaded would stay until somebody collects garbage.
            del mine
            raise
        self._land(key)
        mine.set_result(result)
        return result, True

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]
