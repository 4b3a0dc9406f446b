"""Ctrl-C and SIGTERM as a request that the main loop looks at."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Inside the context the first signal is noted; the second raises KeyboardInterrupt.

    Only in the main thread.

    Attributes:
        received: the first signal, if any.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before = {number: signal.getsignal(number) for number in STOPPING}

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals (again): a library may have put its own handlers in place."""
        for number in STOPPING:
            signal.signal(number, self._receive)

    @property
    def exit_code(self) -> int:
        """What a shell expects after this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.received or signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
