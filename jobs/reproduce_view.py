"""What jobs/reproduce.py shows while it works and at the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.page import SCORES, shown
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.types import Preparing, RunStarted, StepDone, TrainEvent

COLOURS = {"reproduced": "green", "not reproduced": "red"}


class Progress:
    """Two bars: cells, and what is done in the present one.

    Args:
        console: to draw on.
    """

    def __init__(self, console: Console) -> None:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=console)
        self._cells: TaskID = self._bars.add_task("cells", total=None)
        self._work: TaskID = self._bars.add_task("starting", total=None)
        self._steps = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def cell(self, cell: Cell, number: int, total: int) -> None:
        """A cell begins; said in a line as well, which a log keeps."""
        self._bars.console.print(f"{number}/{total} {cell.name}")
        self._bars.update(self._cells, description=cell.name, completed=number - 1, total=total)

    def event(self, cell: Cell, event: TrainEvent) -> None:
        """Something happened in training."""
        if isinstance(event, Preparing):
            self._set(event.stage, event.done, event.total)
        elif isinstance(event, RunStarted):
            self._steps = event.max_steps
        elif isinstance(event, StepDone):
            self._set("training", event.step, self._steps)

    def looked(self, what: str, done: int, total: int) -> None:
        """Videos were measured."""
        self._set(f"looking at {what}", done, total)

    def _set(self, description: str, done: int, total: int) -> None:
        self._bars.update(self._work, description=description, completed=done, total=total)


def show(console: Console, found: Reproduction, page: Path) -> None:
    """Print the tables and the verdicts."""
    for experiment in found.experiments:
        if not experiment.rows:
            continue
        table = Table(title=experiment.title, title_justify="left")
        table.add_column("method")
        for score in SCORES:
            table.add_column(score, justify="right")
        for row in experiment.rows:
            group = found.findings.group(row.method)
            scores = {} if group is None else group.scores
            cells = [shown(each, scores[each]) if each in scores else "-" for each in SCORES]
            table.add_row(row.title, *cells)
        console.print(table)
    for verdicts in found.findings.verdicts(found.experiments).values():
        for verdict in verdicts:
            colour = COLOURS.get(verdict.word, "yellow")
            console.print(f"[{colour}]{verdict.word}[/{colour}]: {verdict.claim.text}")
            console.print(f"  {verdict.because}", style="dim", soft_wrap=True)
    for each in found.findings.failed:
        console.print(f"failed: {each.cell.name}: {each.reason}", style="red", soft_wrap=True)
    console.print(f"written to {page}", soft_wrap=True)
