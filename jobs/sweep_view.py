"""What a sweep tells while it runs: a live table, or lines where nobody watches; and JSON lines.

The trials matter more: what cannot be shown or written (a closed pipe, a full disk) is logged, and
tried again with the next news.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Self

from rich.console import Console
from rich.live import Live

from jobs.sweep_table import draw_table, totals_line
from motion_ray.cluster.desk import News
from motion_ray.cluster.progress import Progress, format_seconds
from motion_ray.cluster.relay import Attempt, Notice
from motion_ray.cluster.slot_times import Start
from motion_ray.sweeps.metrics import write_metrics
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.table import SweepTable, json_lines, make_table
from motion_ray.sweeps.trial import Trial

logger = logging.getLogger(__name__)

TABLE_SECONDS = 1.0  # between two tables, on the screen and in the file
LINE_SECONDS = 10.0  # between two totals in a log
METRICS_SECONDS = 15.0  # between two measurements; Prometheus asks about as often


class SweepView:
    """Shows a sweep; used as a context manager.

    Args:
        trials: all of the sweep, in their order.
        statuses: where they stand at the beginning.
        log: file that gets a JSON line for every change; metrics are written beside it.
        plain: lines also on a terminal.
        unasked: trials that a searcher has still to think of.
        name: of the sweep, for its metrics; null: that of the folder of ``log``.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        statuses: Mapping[str, TrialStatus],
        log: Path,
        plain: bool,
        unasked: int = 0,
        *,
        name: str | None = None,
    ) -> None:
        self._name_of_sweep = name or log.parent.name
        self._unasked = unasked
        self._trials = {trial.identity: trial for trial in trials}
        self._statuses = {key: statuses[key] for key in self._trials}
        self._progress: dict[str, Progress] = {}
        self._slots, self._log = 1, log
        self._table: SweepTable | None = None
        self._drawn = self._told = self._measured = 0.0
        self._begun = time.monotonic()
        console = Console(highlight=False)
        live = console.is_terminal and not plain
        self._console = console
        self._lines: list[str] = []  # to be printed
        self._failing: set[str] = set()  # what did not work the last time
        self._live = Live(console=console, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        """Begin."""
        with self._shielded("the display"):
            if self._live is not None:
                self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End; whatever is on the screen stays."""
        self._measured = 0.0  # the end is measured too
        self._draw()
        with self._shielded("the display"):
            if self._live is not None:
                self._live.stop()

    def expect(self, slots: int) -> None:
        """So many trials can run at once."""
        self._slots = slots

    def show(self, news: Sequence[News]) -> None:
        """Called a few times a second with what is new."""
        for each in news:
            self._take(each)
        self._print()
        if time.monotonic() - self._drawn >= TABLE_SECONDS:
            self._draw()

    def summary(self, starts: Sequence[Start], idle: float) -> None:
        """How well the slots were used.

        Args:
            starts: how trials came to their first step.
            idle: share of the slots' time that was no trial's own work.
        """
        warm = [start.waited + start.prepared for start in starts if not start.first]
        parts = [f"slots idle {100 * idle:.0f} % of the time"]
        if warm:
            parts.append(f"from a free slot to a first step: median {median(warm):.1f} s")
        parts.append(f"{format_seconds(time.monotonic() - self._begun)} in all")
        self._lines.append("; ".join(parts))
        self._print()

    def _take(self, news: News) -> None:
        match news.item:
            case TrialStatus():
                self._statuses[news.identity] = news.item
                self._lines.append(self._standing(news.identity, news.item, news.slot))
            case Trial():
                self._learn(news.item)
            case Attempt(number=number, host=host, pid=pid):
                again = "" if number == 1 else f" again, number {number}"
                self._lines.append(f"{news.slot}: worker started{again} on {host} (process {pid})")
            case Notice(text=text):
                self._lines.append(f"{self._name(news.identity)}: {text}")
            case item:
                self._progress.setdefault(news.identity, Progress()).update(item)

    def _learn(self, trial: Trial) -> None:
        """A searcher has picked this trial, or one that was known goes on."""
        if trial.identity not in self._trials:
            self._unasked = max(0, self._unasked - 1)
            self._trials[trial.identity] = trial
            self._statuses[trial.identity] = TrialStatus()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        pulses = {key: progress.pulse() for key, progress in self._progress.items()}
        table = make_table(self._trials, self._statuses, pulses, self._slots, self._unasked)
        with self._shielded(f"{self._log}"):
            with self._log.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in json_lines(table, self._table))
            self._table = table
        if time.monotonic() - self._measured >= METRICS_SECONDS:
            self._measured = time.monotonic()
            metrics = self._log.with_suffix(".prom")
            with self._shielded(f"{metrics}"):
                write_metrics(metrics, table, self._slots, self._name_of_sweep)
        if self._live is not None:
            with self._shielded("the display"):
                self._live.update(draw_table(table, self._console.height), refresh=True)
        elif time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self._lines.append(totals_line(table.totals))
            self._print()

    def _standing(self, identity: str, status: TrialStatus, slot: str) -> str:
        what = f"{self._name(identity)}: {status.state.replace('_', ' ')}"
        if status.state is TrialState.RUNNING:
            return f"{what} in {slot}, attempt {status.attempts}"
        if status.state is TrialState.FINISHED and status.result is not None:
            return f"{what} at step {status.step}, {status.result['reason'].replace('_', ' ')}"
        return f"{what}: {status.reason}" if status.reason else what

    def _name(self, identity: str) -> str:
        trial = self._trials[identity]
        return f"{trial.motion} {trial.short} ({trial.label})"

    def _print(self) -> None:
        lines, self._lines = self._lines, []
        with self._shielded("the display"):
            for line in lines:
                self._console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def _shielded(self, what: str) -> Iterator[None]:
        """Log a failure of what is inside, the first of several in a row."""
        try:
            yield
        except (Exception, SystemExit):  # rich leaves with the latter when a pipe is closed
            if what not in self._failing:
                logger.exception("%s failed; the trials go on", what)
            self._failing.add(what)
        else:
            self._failing.discard(what)
