"""How many videos of a reproduction are left to look at, and how long that will take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Outlook:
    """Counts what is looked at; a stage's pace is that of its own videos.

    Args:
        clock: seconds, monotonic.

    Attributes:
        left: videos that are still to be measured, all stages together.
        stage: what is looked at now; empty before anything is.
        done: videos of the stage.
        total: of the stage.
        pace: seconds a video; null if none was measured yet.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.left, self.stage, self.done, self.total = 0, "", 0, 0
        self.pace: float | None = None
        self._clock, self._since = clock, (0.0, 0)

    def expect(self, videos: int) -> None:
        """So many videos are to be measured; fewer, if a floor ends cells early."""
        self.left = max(0, videos)

    def looked(self, stage: str, done: int, total: int) -> bool:
        """Take in how far a stage is; returns whether a video was measured since the last call."""
        if stage != self.stage:
            self.stage, self._since, self.done = stage, (self._clock(), done), done
        new, self.done, self.total = done - self.done, done, total
        self.left = max(0, self.left - new)
        since, first = self._since
        if done > first:
            self.pace = (self._clock() - since) / (done - first)
        return new > 0

    @property
    def seconds_left(self) -> float | None:
        """At the last known pace; null if none is known."""
        return None if self.pace is None else self.pace * self.left
