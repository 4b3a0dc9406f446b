"""When each frame of a clip is on screen, and which frames a window at a stated rate consists of.

Pure arithmetic over frame start times; nothing here opens a file. N native frames, f sampled
frames.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timeline:
    """The frames of a clip in time.

    Attributes:
        starts: N start times in seconds, ascending, the first is 0.
        seconds: length of the clip, up to the end of the last frame.
        fps: native rate: stated by the file where that is true, else measured.
        constant: every frame lies within half a frame of ``i / fps``.
    """

    starts: tuple[float, ...]
    seconds: float
    fps: float
    constant: bool

    def available(self, fps: float | None) -> int:
        """How many frames sampling at ``fps`` gives; null counts the native frames."""
        if fps is None:
            return len(self.starts)
        if self.constant:
            # floor(k r + 0.5) <= N - 1 with r = native / fps; the nudge keeps k r = N - 0.5 out
            return max(0, math.ceil((len(self.starts) - 0.5) * fps / self.fps - 1e-9))
        return max(0, math.ceil(self.seconds * fps - 1e-9))

    def window(self, frames: int, fps: float | None) -> list[int]:
        """Native indices of ``frames`` sampled frames in the middle of the clip, or of all it has.

        At a constant rate sample k is native frame ``round(k * native_fps / fps)``, halves upward.
        At a varying rate (gifs hold some frames longer) it is the frame on screen at ``k / fps``.
        """
        count = self.available(fps)
        first = max(0, (count - frames) // 2)
        return [self._index(k, fps) for k in range(first, min(first + frames, count))]

    def _index(self, k: int, fps: float | None) -> int:
        if fps is None:
            return k
        if self.constant:
            return math.floor(k * self.fps / fps + 0.5)
        return bisect.bisect_right(self.starts, k / fps + 1e-9) - 1


def constant_timeline(frames: int, fps: float) -> Timeline:
    """``frames`` frames, each ``1 / fps`` seconds long."""
    return Timeline(tuple(i / fps for i in range(frames)), frames / fps, fps, True)


def measured_timeline(
    starts: Sequence[float], last_seconds: float, stated_fps: float | None
) -> Timeline:
    """A timeline from presentation times as a container gives them.

    Args:
        starts: N >= 1 times in seconds, any order, any origin.
        last_seconds: how long the last frame stays; 0 if the container does not say.
        stated_fps: the container's own rate, if any. Some containers state nonsense (1000 fps in
            recordings of browsers), so it counts only if it agrees with the times within 1 %.
    """
    times = sorted(starts)
    times = [time - times[0] for time in times]
    span = times[-1]
    if span <= 0:
        fps = 1 / last_seconds if last_seconds > 0 else stated_fps or 1.0
        return constant_timeline(len(times), fps)
    fps = (len(times) - 1) / span
    if stated_fps and abs(stated_fps / fps - 1) < 0.01:
        fps = stated_fps
    if all(abs(time * fps - i) < 0.5 for i, time in enumerate(times)):
        # Millisecond clocks (webm) jitter around a constant rate: put the frames back on its grid.
        return constant_timeline(len(times), fps)
    total = span + (last_seconds if last_seconds > 0 else 1 / fps)
    return Timeline(tuple(times), total, len(times) / total, False)
