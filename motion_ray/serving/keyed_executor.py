"""Work in one thread, in order; what has to wait for others holds up only what has its key."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from motion_ray.threads import apart

log = logging.getLogger(__name__)

Wait = Callable[[], None]
"""The rest of some work, which waits for others."""
Work = Callable[[], Wait | None]
"""Does what it can at once, and returns what is left to wait for; null: nothing."""


class KeyedExecutor:
    """Does work in the order in which it came; safe for threads.

    What is left to wait for goes on in a thread of its own. Until that has ended, later work with
    the same key stays behind it, and work with other keys goes on.

    Args:
        name: of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._behind: dict[str, deque[Work]] = {}  # of that one thread alone: keys that wait

    def submit(self, key: str, work: Work) -> None:
        """Take on work.

        Raises:
            RuntimeError: it is closed.
        """
        self._thread.submit(self._run, key, deque([work]))

    def close(self) -> None:
        """Take on no more; what has not begun is dropped, and nobody waits for what has."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, key: str, line: deque[Work]) -> None:
        if key in self._behind:
            self._behind[key].extend(line)
            return
        while line:
            rest = self._begin(key, line.popleft())
            if rest is not None:
                self._behind[key] = line
                self._wait_aside(key, rest)
                return

    def _begin(self, key: str, work: Work) -> Wait | None:
        try:
            return apart(work)
        except Exception:  # a thread's exception would be lost, and what stays behind with it
            log.exception("work on %s failed", key)
            return None

    def _wait_aside(self, key: str, rest: Wait) -> None:
        # A daemon: the end of the process does not wait for it. It only waits, so not `apart`.
        waiter = threading.Thread(
            target=self._wait, args=(key, rest), name=f"{self._name}-wait", daemon=True
        )
        try:
            waiter.start()
        except RuntimeError:  # the machine has no more threads: then without one
            self._wait(key, rest)

    def _wait(self, key: str, rest: Wait) -> None:
        try:
            rest()
        except Exception:  # see above
            log.exception("waiting for %s failed", key)
        finally:
            with contextlib.suppress(RuntimeError):  # closed meanwhile: what is behind is dropped
                self._thread.submit(self._resume, key)

    def _resume(self, key: str) -> None:
        self._run(key, self._behind.pop(key))
