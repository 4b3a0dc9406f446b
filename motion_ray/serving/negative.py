"""What is known not to work, for a while: a broken motion fails at once instead of being read
again by everybody who asks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from motion_ray.errors import MotionRayError


class NegativeCache:
    """Errors by key, each until its time is over. Safe for threads; of bounded size.

    Args:
        seconds: how long an error counts.
        clock: monotonic seconds.
        size: errors kept; the oldest leaves first.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], size: int = 1024) -> None:
        self._seconds, self._clock, self._size = seconds, clock, size
        self._known: OrderedDict[str, tuple[float, MotionRayError]] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = 0

    @property
    def hits(self) -> int:
        """How often an error was raised from memory."""
        return self._hits

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: str, error: MotionRayError) -> None:
        """Remember an error."""
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = (self._clock() + self._seconds, _copy(error))
            while len(self._known) > self._size:
                self._known.popitem(last=False)

    def check(self, key: str) -> None:
        """Pass if nothing is known against a key.

        Raises:
            MotionRayError: a copy of the error that is remembered.
        """
        with self._lock:
            until, error = self._known.get(key, (0.0, None))
            if error is None:
                return
            if self._clock() >= until:
                del self._known[key]
                return
            self._hits += 1
        raise _copy(error)

    def forget(self, key: str | None = None) -> None:
        """Drop what is known about a key, or about everything."""
        with self._lock:
            if key is None:
                self._known.clear()
            else:
                self._known.pop(key, None)

    def forget_where(self, meant: Callable[[str], bool]) -> None:
        """Drop what is known about the keys that are meant."""
        with self._lock:
            for key in [key for key in self._known if meant(key)]:
                del self._known[key]


def _copy(error: MotionRayError) -> MotionRayError:
    """The same error without its traceback, whose frames would keep a delta's tensors alive."""
    return type(error)(error.where, error.rule, error.fix)
