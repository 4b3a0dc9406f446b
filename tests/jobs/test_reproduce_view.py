"""What a reproduction shows while it works."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from jobs.reproduce_view import View, time_left, whole_line
from motion_ray.cluster.desk import News
from motion_ray.cluster.relay import Attempt
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.outlook import Outlook
from motion_ray.reproduction.record import Record
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.table import Totals
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished, RunStarted, StepDone
from tests.sweeps.samples import trial


def outlook(left: int, pace: float | None) -> Outlook:
    found = Outlook()
    found.left, found.pace = left, pace
    return found


@pytest.mark.parametrize(
    ("training", "videos", "pace", "text"),
    [
        (None, 100, 1.0, ""),  # no pace of training is known
        (60.0, 100, None, "about 1:00 of training left"),
        (60.0, 120, 0.5, "about 2:00 left (training 1:00, videos 1:00)"),
        (0.0, 120, 0.5, "about 1:00 left"),
        (60.0, 0, 0.5, "about 1:00 left"),
        (0.0, 0, 0.5, ""),
    ],
)
def test_the_time_left_is_of_training_and_looking(
    training: float | None, videos: int, pace: float | None, text: str
) -> None:
    assert time_left(Totals({}, 0, 0.0, training), outlook(videos, pace)) == text


def test_all_cells_in_a_line() -> None:
    states = {"finished": 3, "running": 2, "waiting": 4, "failed": 1}
    line = whole_line(Totals(states, 6, 100.0, 60.0), 10, outlook(120, 0.5))
    assert line == (
        "3 of 10 cells trained · 2 running · 4 waiting · 1 cannot be trained · "
        "120 videos to look at · about 2:00 left (training 1:00, videos 1:00)"
    )


@pytest.fixture
def record(tmp_path: Path) -> Record:
    trials: dict[Cell, Trial] = {Cell("ours", f"m{n}", 0): trial(n, f"m{n}") for n in (1, 2)}
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(trials.values())
    return Record(tmp_path, ledger, tuple(trials), trials)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_cluster_and_one_process_are_shown_alike(record: Record, terminal: bool) -> None:
    out = io.StringIO()
    view = View(Console(file=out, force_terminal=terminal, width=200))
    one, other = record.trials.values()
    running = TrialStatus(TrialState.RUNNING, attempts=1, where="host slot-000 (7)")
    with view:
        view.record(record, 40)
        view.expect(2)
        assert not view.worked
        view.show([News("", "slot-000", Attempt(1, "host", 7))])
        view.show([News(one.identity, "slot-000", running)])
        view.tell(other.identity, TrialStatus(TrialState.FAILED, reason="the loss is nan"))
        view.show([News(one.identity, "slot-000", RunStarted(0, 9, 1, 1, 1, 1, "cpu", False))])
        assert view.worked
        view._drawn = 0.0
        view.tell(one.identity, StepDone(1, 0.5, {"motion": 0.25}, 1e-3, 1.0, 0.1))
        view.looked("what was learned", 0, 40)
    text = out.getvalue()
    assert "0 of 2 cells trained · 2 waiting · 40 videos to look at" in text
    assert "slot-000: worker started on host (process 7)" in text
    assert f"{one.motion}: training in slot-000" in text
    assert f"{other.motion}: cannot be trained: the loss is nan" in text
    assert "looking at what was learned: 40 videos" in text
    assert ("0.2500" in text) == terminal  # the table of those that run


def test_what_was_measured_before_is_no_work() -> None:
    view = View(Console(file=io.StringIO()))
    view.looked("real clips", 10, 10)
    assert not view.worked
    view.looked("what was learned", 3, 10)
    view.looked("what was learned", 4, 10)
    assert view.worked


@pytest.mark.parametrize("trains", [True, False])
def test_what_waits_takes_time_only_if_it_is_trained_now(record: Record, trains: bool) -> None:
    one, _ = record.trials.values()
    attempt = record.ledger.start(one.identity, "here")
    assert attempt is not None
    result = RunFinished(9, 9, "max_steps", "m1@1", "store", "report.html")
    record.ledger.finish(one.identity, attempt, result, 60.0)
    out = io.StringIO()
    view = View(Console(file=out, width=200))
    with view:
        view.record(record, 40, trains=trains)
    said = "1 of 2 cells trained · 1 waiting · 40 videos to look at"
    line = out.getvalue().strip()
    assert "of training left" in line if trains else line == said
