"""Make one system call of a real save fail, and count how many there are."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "rename", "replace", "link", "mkdir")


class Faults:
    """The ``number``-th call (from 1) fails with ``code``; with ``lasting``, so do all later ones.

    Attributes:
        fired: name of the call that failed first; empty if the work needed fewer calls.
    """

    def __init__(self, number: int, code: int, *, lasting: bool = False) -> None:
        self.fired = ""
        self._number, self._code, self._lasting = number, code, lasting
        self._count = 0
        self._lock = threading.Lock()  # files are hashed in threads

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, but for the fault."""

        def faulty(*args: Any, **options: Any) -> Any:
            with self._lock:
                self._count += 1
                due = self._count == self._number or (self._lasting and self._count > self._number)
                if due:
                    self.fired = self.fired or name
            if due:
                raise OSError(self._code, os.strerror(self._code))
            return call(*args, **options)

        return faulty


@contextlib.contextmanager
def injected(faults: Faults, calls: tuple[str, ...] = CALLS) -> Iterator[None]:
    """Within the context, these functions of ``os`` go through ``faults``."""
    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, faults.counted(name, getattr(os, name)))
        yield


CODES = (errno.ENOSPC, errno.EIO)
