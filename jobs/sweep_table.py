"""The table of a sweep in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from motion_ray.cluster.progress import format_seconds
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.table import Row, SweepTable, Totals

STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.FAILED: "bold red",
    TrialState.WAITING: "dim",
    TrialState.STOPPED_BY_POLICY: "yellow",
    TrialState.FINISHED: "green",
}


def draw_table(table: SweepTable, height: int) -> RenderableType:
    """The totals and as many rows as fit; the rest is counted.

    Args:
        table: what is known.
        height: lines of the terminal.
    """
    drawn = Table(box=None, pad_edge=False, expand=True)
    for name in ("motion", "settings"):
        drawn.add_column(name, no_wrap=True, ratio=2)
    for name in ("step", "loss", "appearance", "left"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    drawn.add_column("where, or why", no_wrap=True, ratio=2, overflow="ellipsis")
    room = max(3, height - 4)
    for row in table.rows[:room]:
        drawn.add_row(*_cells(row), style=STYLES[row.state])
    hidden = len(table.rows) - room
    parts: list[RenderableType] = [Text(totals_line(table.totals), style="bold"), drawn]
    if hidden > 0:
        parts.append(Text(f"and {hidden} more", style="dim"))
    return Group(*parts)


def totals_line(totals: Totals) -> str:
    """The sweep in one line."""
    parts = [f"{count} {state.replace('_', ' ')}" for state, count in totals.states.items()]
    if totals.seconds_left:
        parts.append(f"about {format_seconds(totals.seconds_left)} left")
    return " · ".join(parts)


def _cells(row: Row) -> list[str]:
    appearance = _number(row.appearance)
    if row.appearance is not None and row.floor is not None:
        appearance += f" / {row.floor:.3f}"
    left = "" if row.seconds_left is None else format_seconds(row.seconds_left)
    return [
        row.motion,
        row.settings,
        f"{row.step}/{row.max_steps}",
        _number(row.loss),
        appearance,
        left if row.state is TrialState.RUNNING else "",
        str(row.state).replace("_", " "),
        row.where or row.reason,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
