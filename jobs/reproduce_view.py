"""What jobs/reproduce.py shows while it works: cells, who trains them, and when all will be over.

The same for one process and for a cluster. On a terminal it is drawn in place; elsewhere every
change of a cell is a line, and the whole is one now and then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from motion_ray.cluster.desk import News
from motion_ray.cluster.progress import Progress, format_seconds
from motion_ray.cluster.relay import Attempt, Notice
from motion_ray.reproduction.outlook import Outlook
from motion_ray.reproduction.record import Record
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.table import Row, Totals, make_table
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunStarted, TrainEvent

DRAW_SECONDS = 0.5  # between two drawings
LINE_SECONDS = 30.0  # between two lines of the whole in a log


class View:
    """Shows a reproduction; used as a context manager.

    Args:
        console: to draw on.
        plain: lines also on a terminal.

    Attributes:
        worked: whether anything was trained or measured.
    """

    def __init__(self, console: Console, plain: bool = False) -> None:
        self.worked = False
        self._console, self._outlook = console, Outlook()
        self._trials: dict[str, Trial] = {}
        self._statuses: dict[str, TrialStatus] = {}
        self._progress: dict[str, Progress] = {}
        self._slots, self._drawn, self._told, self._trains = 1, 0.0, 0.0, True
        live = console.is_terminal and not plain
        self._live = Live(console=console, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def record(self, record: Record, videos: int, *, trains: bool = True) -> None:
        """It is known which cells there are, how many videos are to be measured, and whether what
        waits is trained now.
        """
        self._trains = trains
        self._trials = {trial.identity: trial for trial in record.trials.values()}
        self._statuses = record.statuses()
        self._outlook.expect(videos)
        if record.ended:
            self._print(f"{len(record.ended)} more cells were trained elsewhere")
        self._print(self._whole()[0])

    def trained(self, videos: int) -> None:
        """All cells are trained, and so many videos are to be measured."""
        self._outlook.expect(videos)
        self._print(self._whole()[0])

    def expect(self, slots: int) -> None:
        """So many cells can be trained at once."""
        self._slots = slots

    def tell(self, identity: str, item: TrainEvent | TrialStatus) -> None:
        """Something happened to a cell in this process."""
        self.show([News(identity, "", item)])

    def show(self, news: Sequence[News]) -> None:
        """What happened since the last time."""
        for each in news:
            self._take(each)
        self._draw()

    def looked(self, stage: str, done: int, total: int) -> None:
        """Videos were measured."""
        begun = stage != self._outlook.stage
        self.worked = self._outlook.looked(stage, done, total) or self.worked
        if begun and total > done:
            self._print(f"looking at {stage}: {total - done} videos")
        self._draw()

    def _take(self, news: News) -> None:
        match news.item:
            case TrialStatus():
                self._statuses[news.identity] = news.item
                self._print(self._standing(news.identity, news.item, news.slot))
            case Attempt(number=number, host=host, pid=pid):
                again = "" if number == 1 else f" again, number {number}"
                self._print(f"{news.slot}: worker started{again} on {host} (process {pid})")
            case Notice(text=text):
                self._print(f"{self._name(news.identity)}: {text}")
            case Trial():
                pass  # a searcher's; a reproduction has none
            case item:
                self.worked = self.worked or isinstance(item, RunStarted)
                self._progress.setdefault(news.identity, Progress()).update(item)

    def _standing(self, identity: str, status: TrialStatus, slot: str) -> str:
        name = self._name(identity)
        match status.state:
            case TrialState.RUNNING:
                return f"{name}: training" + (f" in {slot}" if slot else "")
            case TrialState.FINISHED if status.result is not None:
                why = status.result["reason"].replace("_", " ")
                return f"{name}: finished at step {status.step}, {why}"
            case TrialState.FAILED:
                return f"{name}: cannot be trained: {status.reason}"
            case state:
                return f"{name}: {state}" + (f": {status.reason}" if status.reason else "")

    def _name(self, identity: str) -> str:
        return self._trials[identity].motion if identity in self._trials else identity[:12]

    def _whole(self) -> tuple[str, list[Row]]:
        """Everything in a line, and the cells that are being trained."""
        pulses = {key: progress.pulse() for key, progress in self._progress.items()}
        table = make_table(self._trials, self._statuses, pulses, self._slots)
        running = [row for row in table.rows if row.state is TrialState.RUNNING]
        totals = table.totals if self._trains else replace(table.totals, seconds_left=0.0)
        return whole_line(totals, len(self._trials), self._outlook), running

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn < DRAW_SECONDS or not self._trials:
            return
        self._drawn = now
        if self._live is None and now - self._told < LINE_SECONDS:
            return
        line, running = self._whole()
        if self._live is not None:
            self._live.update(self._screen(line, running), refresh=True)
        else:
            self._told = now
            self._print(line)

    def _screen(self, line: str, running: Sequence[Row]) -> RenderableType:
        parts: list[RenderableType] = [Text(line, style="bold")]
        look = self._outlook
        if running:
            parts.append(self._cells(running))
        elif look.total > look.done:
            parts.append(Text(f"looking at {look.stage}: {look.done}/{look.total} videos"))
        return Group(*parts)

    def _cells(self, running: Sequence[Row]) -> Table:
        drawn = Table(box=None, pad_edge=False, expand=True)
        drawn.add_column("cell", no_wrap=True, ratio=2)
        for name in ("step", "loss", "appearance", "left"):
            drawn.add_column(name, justify="right", no_wrap=True)
        drawn.add_column("where", no_wrap=True, ratio=2, overflow="ellipsis")
        by_short = {trial.short: trial for trial in self._trials.values()}
        for row in running:
            progress = self._progress.get(by_short[row.trial].identity, Progress())
            step = f"{row.step}/{row.max_steps}" if progress.training else progress.line()
            loss = "" if row.loss is None else f"{row.loss:.4f}"
            left = "" if row.seconds_left is None else format_seconds(row.seconds_left)
            drawn.add_row(row.motion, step, loss, _appearance(row), left, row.where, style="cyan")
        return drawn

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def whole_line(totals: Totals, cells: int, outlook: Outlook) -> str:
    """A reproduction in one line.

    Args:
        totals: of its cells.
        cells: how many there are.
        outlook: on what is to be looked at.
    """
    done = totals.states.get(TrialState.FINISHED, 0)
    parts = [f"{done} of {cells} cells trained"]
    for state, words in (
        (TrialState.RUNNING, "running"),
        (TrialState.WAITING, "waiting"),
        (TrialState.FAILED, "cannot be trained"),
    ):
        if totals.states.get(state):
            parts.append(f"{totals.states[state]} {words}")
    if outlook.left:
        parts.append(f"{outlook.left} videos to look at")
    left = time_left(totals, outlook)
    if left:
        parts.append(left)
    return " · ".join(parts)


def time_left(totals: Totals, outlook: Outlook) -> str:
    """When all is over at the pace so far, as far as it is known."""
    training, looking = totals.seconds_left, outlook.seconds_left
    if training is None or (looking is None and not training):
        return ""
    if looking is None:
        return f"about {format_seconds(training)} of training left"
    both = training + looking
    if not both:
        return ""
    parts = f" (training {format_seconds(training)}, videos {format_seconds(looking)})"
    return f"about {format_seconds(both)} left" + (parts if training and looking else "")


def _appearance(row: Row) -> str:
    if row.appearance is None:
        return ""
    return f"{row.appearance:.4f}" + ("" if row.floor is None else f" / {row.floor:.3f}")
