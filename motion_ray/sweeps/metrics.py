"""What operators watch of a sweep, in the text format of Prometheus.

The numbers are written into a file that node_exporter's textfile collector, or anything else that
reads the format, picks up; nothing has to listen. States are labels, trials are not: each label
value is a time series of its own, for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from motion_ray.errors import LedgerError
from motion_ray.files import write_text_atomic
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.table import SweepTable

PREFIX = "motion_ray_sweep_"


@dataclass(frozen=True)
class Metric:
    """A number, or one for each trial state.

    Attributes:
        name: without :data:`PREFIX`.
        help: for people.
        kind: a counter only grows while a sweep runs.
        values: by label ``state``; the empty text is a value without label.
    """

    name: str
    help: str
    kind: Literal["gauge", "counter"]
    values: dict[str, float]


def measure(table: SweepTable, slots: int) -> tuple[Metric, ...]:
    """The metrics of a sweep at this moment.

    Args:
        table: rows and totals.
        slots: trials that can run at once.
    """
    totals, running = table.totals, table.totals.states.get(TrialState.RUNNING, 0)
    steps = sum(row.step for row in table.rows)
    metrics = [
        Metric("trials", "trials by state", "gauge", {s: totals.states.get(s, 0) for s in STATES}),
        Metric("attempts_total", "attempts started", "counter", {"": totals.attempts}),
        Metric("steps", "optimizer steps of all trials", "gauge", {"": steps}),
        Metric("slots", "trials that can run at once", "gauge", {"": slots}),
        Metric("slots_busy", "slots that hold a trial", "gauge", {"": running}),
        Metric(
            "trial_seconds_total", "time of ended attempts", "counter", {"": totals.trial_seconds}
        ),
    ]
    if totals.seconds_left is not None:
        metrics.append(
            Metric("seconds_left", "at the pace so far", "gauge", {"": totals.seconds_left})
        )
    return tuple(metrics)


STATES = tuple(str(state) for state in TrialState)


def exposition(metrics: Sequence[Metric], sweep: str) -> str:
    """Metrics as text.

    Args:
        metrics: what was measured.
        sweep: name of the sweep, a label of all of them.
    """
    lines = []
    for metric in metrics:
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        for state, value in metric.values.items():
            labels = f'sweep="{_escaped(sweep)}"' + (f',state="{state}"' if state else "")
            lines.append(f"{name}{{{labels}}} {value:g}")
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, table: SweepTable, slots: int, sweep: str) -> None:
    """Replace the file with what holds now.

    Args:
        path: a name that ends with ``.prom``, or the collector passes it over.
        table: rows and totals.
        slots: trials that can run at once.
        sweep: name of the sweep.

    Raises:
        LedgerError: it cannot be written.
    """
    write_text_atomic(path, exposition(measure(table, slots), sweep), LedgerError)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
