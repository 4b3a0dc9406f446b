"""Wait for what happens in another thread, task or process; a test fails that waits too long. And a
clock, for what needs no waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 20.0  # seconds: an answer to "does it happen at all", not to "how fast"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def until(condition: Callable[[], bool], seconds: float = PATIENCE, every: float = 0.005) -> None:
    """Return as soon as it is true.

    Args:
        condition: asked again and again.
        seconds: after which the test fails.
        every: seconds between two questions.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s"
        time.sleep(every)


async def until_true(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """:func:`until` in an event loop, which goes on meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s"
        await asyncio.sleep(0.01)
