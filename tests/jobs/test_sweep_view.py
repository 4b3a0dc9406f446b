"""What a sweep leaves for machines while it runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobs.sweep_view import SweepView
from motion_ray.cluster.desk import News
from motion_ray.sweeps.status import TrialState, TrialStatus
from tests.sweeps.samples import trial


def test_changes_are_lines_and_the_end_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, log = trial(1), tmp_path / "sweep.jsonl"
    view = SweepView([one], {one.identity: TrialStatus()}, log, plain=True)
    failed = TrialStatus(TrialState.FAILED, attempts=1, reason="a.mp4: is damaged")
    with view:
        view.show([])
        view.show([News(one.identity, "slot-000", failed)])
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    states = [row["state"] for row in rows if row["event"] == "trial"]
    assert states == ["waiting", "failed"]
    measured = (tmp_path / "sweep.prom").read_text().splitlines()
    [trials] = [each for each in measured if each.startswith('motion_ray_sweep_trials{state="fail')]
    assert trials.endswith(" 1.0")
    assert "a.mp4: is damaged" in capsys.readouterr().out


def test_a_trial_that_a_searcher_thought_of_is_shown_from_then_on(tmp_path: Path) -> None:
    one, log = trial(1), tmp_path / "sweep.jsonl"
    view = SweepView([], {}, log, plain=True, unasked=2)
    with view:
        view.show([News(one.identity, "", one)])
        view.show([News(one.identity, "", one)])  # it was interrupted, and goes on
        running = TrialStatus(TrialState.RUNNING, attempts=1)
        view.show([News(one.identity, "slot-000", running)])
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["state"] for row in rows if row["event"] == "trial"][-1] == "running"
    assert view._unasked == 1


def test_neither_a_closed_pipe_nor_a_full_disk_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("jobs.sweep_view.TABLE_SECONDS", 0.0)
    one, log = trial(1), tmp_path / "sweep.jsonl"
    with os.fdopen(os.dup(writer), "w") as pipe, os.fdopen(writer, "w") as other:
        monkeypatch.setattr("sys.stdout", pipe)
        view = SweepView([one], {one.identity: TrialStatus()}, log, plain=True)
        log.mkdir()  # as good as a full disk: it cannot be opened
        running = TrialStatus(TrialState.RUNNING, attempts=1)
        with view:
            view.show([News(one.identity, "slot-000", running)])
            log.rmdir()
            view.show([News(one.identity, "slot-000", TrialStatus(TrialState.FAILED, attempts=1))])
            view.show([])
        view.summary([], 0.5)
        other.close()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["state"] for row in rows if row["event"] == "trial"] == ["failed"]
    failures = [record.getMessage() for record in caplog.records]
    assert failures == ["the display failed; the trials go on", f"{log} failed; the trials go on"]
