"""The metrics of a sweep, read back as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from motion_ray.sweeps.metrics import write_metrics
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.table import Pulse, make_table
from tests.sweeps.samples import trial


def test_prometheus_reads_what_is_written(tmp_path: Path) -> None:
    trials = {each.identity: each for each in (trial(n) for n in range(3))}
    done, runs, waits = trials
    statuses = {
        done: TrialStatus(TrialState.FINISHED, attempts=2, step=100, seconds=1234567.8),
        runs: TrialStatus(TrialState.RUNNING, attempts=1),
        waits: TrialStatus(),
    }
    table = make_table(trials, statuses, {runs: Pulse(40, seconds_per_step=1.0)}, slots=4)
    path = tmp_path / "sweep.prom"
    write_metrics(path, table, slots=4, sweep='night "1"\\')
    families = {f.name: f for f in text_string_to_metric_families(path.read_text())}
    samples = {
        (sample.name, sample.labels.get("state")): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["motion_ray_sweep_trials", "finished"] == 1
    assert samples["motion_ray_sweep_trials", "failed"] == 0
    assert samples["motion_ray_sweep_attempts_total", None] == 3
    assert samples["motion_ray_sweep_steps", None] == 140
    assert samples["motion_ray_sweep_slots_busy", None] == 1
    assert samples["motion_ray_sweep_trial_seconds_total", None] == 1234567.8  # not rounded
    assert samples["motion_ray_sweep_seconds_left", None] == table.totals.seconds_left
    assert families["motion_ray_sweep_attempts"].type == "counter"
    [sample, *_] = families["motion_ray_sweep_trials"].samples
    assert sample.labels["sweep"] == 'night "1"\\'
