"""A limit to how long a connection is used, also while the other side says nothing.

A server that is stopped, or a network that swallows what is sent, leaves whoever reads from it
waiting; for the system, which still sees a connection, for as long as it likes. Shutting the socket
from another thread ends the waiting, whatever library it is in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(eq=False)
class _Use:
    socket: socket.socket
    seconds: float
    until: float  # monotonic seconds
    over: str = ""  # why it was shut


class SocketGuard:
    """Shuts connections whose time is over; safe for threads, not across forks.

    Its thread is started by the first use.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards what follows
        self._uses: set[_Use] = set()
        self._wakes = float("inf")  # when the thread looks again
        self._thread: threading.Thread | None = None
        self._closed = False

    def close(self) -> None:
        """Shut what is in use, and end the thread."""
        with self._changed:
            self._closed = True
            self._shut(float("inf"), "it was closed meanwhile")
            self._changed.notify_all()

    @contextlib.contextmanager
    def limited(self, fileno: int, seconds: float) -> Iterator[None]:
        """Use a connection, for so long at most.

        Args:
            fileno: of its socket.
            seconds: after which it is shut.

        Raises:
            TimeoutError: it was shut, and what was done with it came to grief.
            OSError: the system has no descriptor, or no thread, left.
        """
        # A descriptor of its own: the number of the other one may be another socket's by then.
        with socket.socket(fileno=os.dup(fileno)) as ours:
            use = _Use(ours, seconds, time.monotonic() + seconds)
            try:
                self._add(use)
                yield
            except Exception as fault:
                if use.over:
                    raise TimeoutError(use.over) from fault
                raise
            finally:
                with self._changed:
                    self._uses.discard(use)

    def _add(self, use: _Use) -> None:
        with self._changed:
            self._uses.add(use)
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="sockets", daemon=True)
                try:
                    thread.start()
                except RuntimeError as fault:
                    raise OSError(errno.EAGAIN, "no thread is left") from fault
                self._thread = thread
            elif use.until < self._wakes:
                self._changed.notify_all()

    def _shut(self, now: float, why: str = "") -> None:
        for use in [each for each in self._uses if each.until <= now]:
            use.over = why or f"no answer within {use.seconds:g} seconds"
            self._uses.discard(use)
            with contextlib.suppress(OSError):  # the other side was quicker
                use.socket.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                self._shut(now)
                self._wakes = min((use.until for use in self._uses), default=float("inf"))
                idle = self._wakes == float("inf")
                self._changed.wait(None if idle else max(0.0, self._wakes - now))
