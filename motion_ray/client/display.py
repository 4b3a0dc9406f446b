"""Showing a job in the terminal: a bar that moves with the denoising steps, or plain lines.

Both write to standard error, so that standard output holds the result alone. Text from a server is
shown without control characters, which could draw anything.
"""

from __future__ import annotations

import time
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from motion_ray.client.values import VideoEvent

PLAIN_SECONDS = 5.0  # between two lines about progress
STAGES = {
    "queued": "queued",
    "in_progress": "loading",
    "progress": "denoising",
    "requeued": "queued again",
    "cancelling": "cancelling",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


class Display(Protocol):
    """Shows one job; used as a context manager."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *exception: object) -> None:
        """End."""
        ...

    def show(self, event: VideoEvent) -> None:
        """Called with everything that happens to the job."""
        ...


class PlainDisplay:
    """A line when something changes, and about every five seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._stage, self._told = stream, "", 0.0

    def __enter__(self) -> Self:
        """See :class:`Display`."""
        return self

    def __exit__(self, *exception: object) -> None:
        """See :class:`Display`."""

    def show(self, event: VideoEvent) -> None:
        """See :class:`Display`."""
        stage = stage_of(event)
        if stage != self._stage or time.monotonic() - self._told >= PLAIN_SECONDS:
            self._stage, self._told = stage, time.monotonic()
            print(f"{stage} {percent_of(event)}%", file=self._stream, flush=True)


class LiveDisplay:
    """A bar, drawn in place and gone at the end."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("asking", total=None)

    def __enter__(self) -> Self:
        """See :class:`Display`."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """See :class:`Display`."""
        self._progress.stop()

    def show(self, event: VideoEvent) -> None:
        """See :class:`Display`."""
        percent = percent_of(event)
        # Without a total the bar runs to and fro: something happens, but not yet any step.
        total = 100 if percent else None
        self._progress.update(
            self._task, description=stage_of(event), completed=percent, total=total
        )


def display_for(stream: TextIO) -> Display:
    """What suits a stream."""
    return LiveDisplay(Console(file=stream)) if stream.isatty() else PlainDisplay(stream)


def stage_of(event: VideoEvent) -> str:
    """What a job does, in a word; what a newer server tells is shown as it is."""
    return STAGES.get(event.kind) or printable(event.kind)


def percent_of(event: VideoEvent) -> int:
    """Of the denoising steps."""
    percent = event.data.get("progress", 0)
    return percent if isinstance(percent, int) else 0


def printable(text: str) -> str:
    """Text in one line, without what a terminal takes for orders."""
    return "".join(each if each.isprintable() else " " for each in text)
