"""What operators watch of a sweep, in the text format of Prometheus.

The numbers are written into a file that node_exporter's textfile collector, or anything else that
reads the format, picks up; nothing has to listen. States are labels, trials are not: each label
value is a time series of its own, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from motion_ray.errors import LedgerError
from motion_ray.files import write_bytes_atomic
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.table import SweepTable

PREFIX = "motion_ray_sweep_"


class _Sweep(Collector):
    """The metrics of a sweep at one moment."""

    def __init__(self, table: SweepTable, slots: int, sweep: str) -> None:
        self._table, self._slots, self._sweep = table, slots, sweep

    def collect(self) -> Iterator[Metric]:
        totals = self._table.totals
        trials = GaugeMetricFamily(f"{PREFIX}trials", "trials by state", labels=["sweep", "state"])
        for state in TrialState:
            trials.add_metric([self._sweep, str(state)], totals.states.get(state, 0))
        yield trials
        yield self._counter("attempts", "attempts started", totals.attempts)
        yield self._counter("trial_seconds", "time of ended attempts", totals.trial_seconds)
        steps = sum(row.step for row in self._table.rows)
        yield self._gauge("steps", "optimizer steps of all trials", steps)
        yield self._gauge("slots", "trials that can run at once", self._slots)
        busy = totals.states.get(TrialState.RUNNING, 0)
        yield self._gauge("slots_busy", "slots that hold a trial", busy)
        if totals.seconds_left is not None:
            yield self._gauge("seconds_left", "at the pace so far", totals.seconds_left)

    def _gauge(self, name: str, told: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}{name}", told, labels=["sweep"])
        family.add_metric([self._sweep], value)
        return family

    def _counter(self, name: str, told: str, value: float) -> Metric:
        family = CounterMetricFamily(f"{PREFIX}{name}", told, labels=["sweep"])
        family.add_metric([self._sweep], value)
        return family


def write_metrics(path: Path, table: SweepTable, slots: int, sweep: str) -> None:
    """Replace the file with what holds now.

    Args:
        path: a name that ends with ``.prom``, or the collector passes it over.
        table: rows and totals.
        slots: trials that can run at once.
        sweep: name of the sweep, a label of all metrics.

    Raises:
        LedgerError: it cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(_Sweep(table, slots, sweep))
    write_bytes_atomic(path, generate_latest(registry), LedgerError)
