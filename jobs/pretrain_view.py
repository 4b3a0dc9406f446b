"""How jobs/pretrain.py shows a stage: a bar with the time left, or lines where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from motion_ray.pretraining.loop import TrainingProgress

LINE_SECONDS = 30.0  # between lines in a log


def follow(events: Iterable[TrainingProgress], console: Console) -> TrainingProgress | None:
    """Show events until they end; returns the last, if there was one."""
    return _bars(events, console) if console.is_terminal else _lines(events, console)


def _bars(events: Iterable[TrainingProgress], console: Console) -> TrainingProgress | None:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[note]}")
    last = None
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        tasks: dict[str, TaskID] = {}
        for last in events:
            if last.stage not in tasks:
                tasks[last.stage] = bar.add_task(last.stage, total=last.total, note="")
            bar.update(tasks[last.stage], completed=last.done, note=_note(last))
    return last


def _lines(events: Iterable[TrainingProgress], console: Console) -> TrainingProgress | None:
    last, told = None, float("-inf")
    first: tuple[float, TrainingProgress] | None = None  # of this stage, for its pace
    for last in events:
        now = time.monotonic()
        if first is None or first[1].stage != last.stage:
            first, told = (now, last), float("-inf")
        if now - told >= LINE_SECONDS or last.done == last.total:
            told = now
            left = _seconds_left(now - first[0], last.done - first[1].done, last.total - last.done)
            parts = [f"{last.stage} {last.done}/{last.total}", _note(last), left]
            console.print(", ".join(filter(None, parts)), highlight=False)
    return last


def _note(event: TrainingProgress) -> str:
    return "" if event.loss is None else f"loss {event.loss:.3f}"


def _seconds_left(spent: float, done: int, left: int) -> str:
    """``"12 min left"`` at the pace so far; nothing while there is none, or when it is over."""
    if not done or not left:
        return ""
    seconds = spent / done * left
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
