"""Showing a run in the terminal: a live panel, or plain lines where there is no terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from motion_ray.cluster.progress import Progress, format_seconds, news
from motion_ray.cluster.relay import Item
from motion_ray.types import Preparing

logger = logging.getLogger(__name__)

PLAIN_SECONDS = 10.0


class Display(Protocol):
    """Shows a run; used as a context manager."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *exception: object) -> None:
        """End; whatever is on the screen stays."""
        ...

    def show(self, items: Sequence[Item], progress: Progress) -> None:
        """Called a few times a second with what is new."""
        ...


class PlainDisplay:
    """A line about every ten seconds, and one for everything worth keeping."""

    def __init__(self) -> None:
        self._last_time, self._last_line, self._last_stage = 0.0, "", ""

    def __enter__(self) -> Self:
        """See :class:`Display`."""
        return self

    def __exit__(self, *exception: object) -> None:
        """See :class:`Display`."""

    def show(self, items: Sequence[Item], progress: Progress) -> None:
        """See :class:`Display`."""
        for item in items:
            line = news(item)
            if isinstance(item, Preparing) and item.stage != self._last_stage:
                line = self._last_stage = item.stage
            if line is not None:
                self._print(line)
        line = progress.line()
        if time.monotonic() - self._last_time >= PLAIN_SECONDS and line != self._last_line:
            self._last_time = time.monotonic()
            self._print(line)

    def _print(self, line: str) -> None:
        self._last_line = line
        print(line, flush=True)


class LiveDisplay:
    """A panel that is drawn anew in place, with the lines worth keeping above it."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._spinner = Spinner("dots")
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        """See :class:`Display`."""
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """See :class:`Display`."""
        self._live.stop()

    def show(self, items: Sequence[Item], progress: Progress) -> None:
        """See :class:`Display`."""
        for item in items:
            line = news(item)
            if line is not None:
                self._live.console.print(line, markup=False, highlight=False, style="dim")
        self._live.update(self._draw(progress), refresh=True)

    def _draw(self, progress: Progress) -> RenderableType:
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(width=2)
        head.add_column(ratio=1)
        head.add_column(justify="right")
        count = f"{progress.done}/{progress.total}" if progress.total > 1 else ""
        head.add_row(self._spinner, Text(progress.stage, style="bold"), count)
        bar = ProgressBar(
            total=max(progress.total, 1), completed=progress.done, pulse=progress.total == 0
        )
        # In a table, because a bar alone does not end its line.
        rows = Table.grid(expand=True)
        for row in (head, bar, _numbers(progress)):
            rows.add_row(row)
        return Panel(rows, title=self._title, title_align="left")


def _numbers(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, loss in sorted(progress.losses.items()):
        table.add_row(f"loss, {name}", f"{loss:.4f}")
    if progress.appearance is not None and progress.floor is not None:
        style = "green" if progress.appearance >= progress.floor else "red"
        score = Text(f"{progress.appearance:.4f}", style=style)
        table.add_row("appearance", score.append(f"   floor {progress.floor:.4f}", style="dim"))
    if progress.seconds_per_step is not None:
        left = progress.seconds_left()
        rest = f"   at most {format_seconds(left)} left" if left is not None else ""
        table.add_row("speed", f"{progress.seconds_per_step:.2f} s/step{rest}")
    if progress.checkpoint is not None:
        resumed = f"   resumed at {progress.resumed_at}" if progress.resumed_at is not None else ""
        table.add_row("checkpoint", f"step {progress.checkpoint}{resumed}")
    return table


class ShieldedDisplay:
    """A display whose failure is logged: training matters more.

    Plain lines take its place; if they fail as well (output that nobody reads), nothing is shown.
    """

    def __init__(self, display: Display) -> None:
        self._display: Display | None = display

    def __enter__(self) -> Self:
        """See :class:`Display`."""
        if self._display is not None:
            self._display.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """See :class:`Display`."""
        if self._display is not None:
            try:
                self._display.__exit__(*exception)
            except Exception:
                logger.exception("the display could not be ended")

    def show(self, items: Sequence[Item], progress: Progress) -> None:
        """See :class:`Display`."""
        if self._display is None:
            return
        try:
            self._display.show(items, progress)
        except Exception:
            logger.exception("the display failed; training goes on")
            self.__exit__(None, None, None)
            self._display = None if isinstance(self._display, PlainDisplay) else PlainDisplay()


def choose_display(plain: bool, title: str) -> Display:
    """The panel on a terminal, lines elsewhere or on request."""
    console = Console()
    return PlainDisplay() if plain or not console.is_terminal else LiveDisplay(console, title)
