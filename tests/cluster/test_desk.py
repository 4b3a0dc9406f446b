"""The desk of a sweep: what it gives out, and what is on record whoever dies when."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from motion_ray.cluster.desk import (
    KILL_SECONDS,
    Order,
    SweepDesk,
)
from motion_ray.cluster.outcome import Outcome
from motion_ray.cluster.relay import CAPACITY, Attempt
from motion_ray.cluster.runs import Runs, run_folder, settle_finished
from motion_ray.cluster.stall import Stall
from motion_ray.config import CustomizationConfig
from motion_ray.customization.run import RunFolder
from motion_ray.errors import DataError, LedgerError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import Checkpointed, RunFinished, RunStarted, StepDone

STARTED = RunStarted(0, 9, 10, 1, 1, 1, "cpu", False)
DONE = RunFinished(9, 9, "max_steps", "sliding@1", "store", "report.html")


def step(number: int) -> StepDone:
    return StepDone(number, 0.5, {"motion": 0.5}, 1e-3, 1.0, 0.1)


@pytest.fixture
def trials(tiny_run: CustomizationConfig) -> list[Trial]:
    return [
        Trial(letter * 64, "sliding", {"seed": number}, tiny_run.replace({"seed": number}))
        for number, letter in enumerate("abc")
    ]


@pytest.fixture
def ledger(trials: list[Trial], tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(trials)
    return ledger


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> SweepDesk:
    desk = SweepDesk(ledger.uri, str(tmp_path / "runs"), slots=2, retries=1)
    desk.enter("left", "host", 1)
    desk.enter("right", "host", 2)
    return desk


def taken(desk: SweepDesk, slot: str) -> Order:
    order = desk.take(slot)
    assert isinstance(order, Order)
    return order


def test_trials_go_out_once_in_the_order_in_which_they_were_posted(
    desk: SweepDesk, trials: list[Trial], tmp_path: Path
) -> None:
    for trial in (trials[1], trials[0], trials[1]):
        desk.post(trial.identity)
    first, second = taken(desk, "left"), taken(desk, "right")
    assert [first.identity, second.identity] == [trials[1].identity, trials[0].identity]
    assert first.out == str(tmp_path / "runs" / "sliding" / trials[1].short)
    assert first.config == trials[1].config and first.attempt == 1
    desk.post(trials[1].identity)  # its driver was killed and asks again
    desk.conclude("right", second.identity, 1, Outcome(finished=DONE))
    assert desk.take("right") == "wait"


def test_what_ended_is_on_record_before_the_slot_is_free(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    for trial in trials[:2]:
        desk.post(trial.identity)
    good, bad = taken(desk, "left"), taken(desk, "right")
    desk.conclude("left", good.identity, 1, Outcome(finished=DONE))
    error = DataError("clips/a.mp4", "is damaged", "replace it")
    desk.conclude("right", bad.identity, 1, Outcome(error=error))
    statuses = ledger.statuses()
    assert statuses[good.identity].state is TrialState.FINISHED
    assert statuses[bad.identity].state is TrialState.FAILED
    assert "clips/a.mp4" in statuses[bad.identity].reason
    assert desk.busy() == 0
    desk.post(bad.identity)
    assert desk.take("left") == "wait"  # it would fail the same way


def test_a_lost_trial_goes_first_and_is_given_up_after_its_retries(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    for trial in trials[:2]:
        desk.post(trial.identity)
    assert taken(desk, "left").identity == trials[0].identity
    desk.lost("left", "the node is gone")
    again = taken(desk, "right")
    assert (again.identity, again.attempt) == (trials[0].identity, 2)
    desk.lost("right", "killed")
    status = ledger.statuses()[trials[0].identity]
    assert status.state is TrialState.FAILED and "2 lost attempts: killed" in status.reason
    assert taken(desk, "left").identity == trials[1].identity


def test_a_loss_after_a_new_checkpoint_does_not_count(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    identity = trials[0].identity
    desk.post(identity)
    for attempt in range(1, 5):
        assert taken(desk, "left").attempt == attempt
        desk.push("left", identity, [STARTED, step(attempt), Checkpointed(attempt, "")])
        desk.lost("left", "preempted")
    status = ledger.statuses()[identity]
    assert (status.state, status.lost, status.step) == (TrialState.WAITING, 0, 4)


def test_a_new_process_in_a_slot_gives_back_what_the_old_one_held(
    desk: SweepDesk, trials: list[Trial]
) -> None:
    desk.post(trials[0].identity)
    taken(desk, "left")
    desk.enter("left", "host", 3)
    assert taken(desk, "left").attempt == 2
    assert [news.item for news in desk.drain() if isinstance(news.item, Attempt)] == [
        Attempt(1, "host", 1),
        Attempt(1, "host", 2),
        Attempt(2, "host", 3),
    ]


def test_a_slot_that_was_given_up_is_told_to_stop_but_its_result_counts(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    identity = trials[0].identity
    desk.post(identity)
    taken(desk, "left")
    assert desk.push("left", identity, [STARTED]) is False
    desk.lost("left", "not heard of")
    assert desk.push("left", identity, [step(1)]) is True
    desk.conclude("left", identity, 1, Outcome(finished=DONE))
    assert ledger.statuses()[identity].state is TrialState.FINISHED
    assert desk.take("right") == "wait"


def test_a_trial_that_is_ended_early_keeps_its_reason(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    running, waiting = trials[0].identity, trials[1].identity
    desk.post(running)
    desk.post(waiting)
    taken(desk, "left")
    desk.stop_trial(running, "dominated")
    desk.stop_trial(waiting, "dominated")
    assert desk.push("left", running, [step(3)]) is True
    desk.conclude("left", running, 1, Outcome(stopped_at=3))
    statuses = ledger.statuses()
    assert {statuses[each].state for each in (running, waiting)} == {TrialState.STOPPED_BY_POLICY}
    assert (statuses[running].step, statuses[running].reason) == (3, "dominated")
    assert desk.take("right") == "wait"


def test_a_trial_that_is_lost_before_it_could_end_early_is_not_run_again(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    identity = trials[0].identity
    desk.post(identity)
    taken(desk, "left")
    desk.push("left", identity, [STARTED, step(3)])
    desk.stop_trial(identity, "dominated")
    desk.lost("left", "the node is gone")
    status = ledger.statuses()[identity]
    assert (status.state, status.reason) == (TrialState.STOPPED_BY_POLICY, "dominated")
    assert status.step == 3
    assert desk.take("right") == "wait"


@pytest.mark.parametrize("deed", ["start", "interrupt", "stop"])
def test_a_record_that_cannot_be_written_for_a_while_costs_no_trial(
    desk: SweepDesk, trials: list[Trial], monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    identity, write, faults = trials[0].identity, getattr(Ledger, deed), ["the disk is full"]

    def unreliable(*args: Any, **kwargs: Any) -> Any:
        if faults:
            raise LedgerError("ledger", faults.pop(), "free some space")
        return write(*args, **kwargs)

    desk.post(identity)
    if deed == "start":
        monkeypatch.setattr(Ledger, deed, unreliable)
        with pytest.raises(LedgerError):
            desk.take("left")
        assert taken(desk, "left").identity == identity
        return
    taken(desk, "left")
    if deed == "stop":
        desk.stop_trial(identity, "dominated")
    monkeypatch.setattr(Ledger, deed, unreliable)
    with pytest.raises(LedgerError):
        desk.lost("left", "the node is gone")
    assert desk.busy() == 1
    desk.enter("left", "host", 3)  # the next process of the slot tells again
    assert desk.busy() == 0
    if deed == "interrupt":
        assert taken(desk, "right").attempt == 2
    else:
        assert desk.take("right") == "wait"


def test_a_trial_runs_with_the_paths_of_today(
    ledger: Ledger, trials: list[Trial], tmp_path: Path
) -> None:
    moved = trials[0].config.replace({"motion": "/moved/clips"})
    found = dataclasses.replace(trials[1], config=trials[1].config.replace({"motion": "/other"}))
    desk = SweepDesk(ledger.uri, str(tmp_path), 1, 1, configs={trials[0].identity: moved})
    desk.enter("left", "host", 1)
    desk.add(found)  # a searcher asked for it on the first day, too
    for trial in trials:
        desk.post(trial.identity)
    configs = []
    for _ in trials:
        order = taken(desk, "left")
        configs.append(order.config)
        desk.conclude("left", order.identity, 1, Outcome(finished=DONE))
    assert configs == [moved, found.config, trials[2].config]


def test_a_closed_desk_stops_everybody_and_the_trials_wait_for_the_next_submission(
    desk: SweepDesk, ledger: Ledger, trials: list[Trial]
) -> None:
    for trial in trials:
        desk.post(trial.identity)
    taken(desk, "left")
    desk.close()
    assert desk.take("right") == "leave"
    assert desk.push("left", trials[0].identity, [step(2)]) is True
    desk.conclude("left", trials[0].identity, 1, Outcome(stopped_at=2))
    status = ledger.statuses()[trials[0].identity]
    assert (status.state, status.lost, status.step) == (TrialState.WAITING, 0, 2)


def test_a_result_that_the_record_missed_is_put_there_and_run_by_nobody(
    ledger: Ledger, trials: list[Trial], tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "runs", trials[1])
    folder.mkdir(parents=True)
    RunFolder(folder).finish(DONE)
    assert settle_finished(ledger, Runs(tmp_path / "runs")) == [trials[1].identity]
    assert settle_finished(ledger, Runs(tmp_path / "runs")) == []
    desk = SweepDesk(ledger.uri, str(tmp_path / "runs"), slots=1, retries=1)
    desk.enter("left", "host", 1)
    desk.post(trials[1].identity)
    assert desk.take("left") == "wait"


def test_a_trial_that_hangs_is_killed_and_retried_a_bounded_number_of_times(
    ledger: Ledger, trials: list[Trial], tmp_path: Path
) -> None:
    now = [0.0]
    runs = str(tmp_path / "runs")
    desk = SweepDesk(ledger.uri, runs, 2, retries=1, clock=lambda: now[0], stall_seconds=60)
    for number, slot in enumerate(("left", "right"), 1):
        desk.enter(slot, "host", number, f"node-{number}")
    identity, other = trials[0].identity, trials[1].identity
    desk.post(identity)
    desk.post(other)
    assert (taken(desk, "left").identity, taken(desk, "right").identity) == (identity, other)
    for seconds in (30.0, 60.0, 90.0):  # the left one works, the right one gets nowhere
        now[0] = seconds
        desk.push("left", identity, [STARTED, step(int(seconds)), Checkpointed(1, "")])
        assert desk.stalled() == ([Stall("node-2", 2)] if seconds > 60 else [])
    assert desk.stalled() == []  # told once
    desk.lost("right", "the worker was lost")
    history = ledger.history(other)
    assert [event.kind for event in history] == ["started", "interrupted"]
    assert "no sign of progress for 60 s" in history[-1].reason
    desk.enter("right", "host", 3, "node-2")
    assert taken(desk, "right").attempt == 2
    now[0] = 200.0
    desk.push("left", identity, [step(91)])
    assert desk.stalled() == [Stall("node-2", 3)]
    desk.lost("right", "the worker was lost")
    status = ledger.status(other)
    assert status.state is TrialState.FAILED and "after 2 lost attempts" in status.reason


def test_a_trial_that_hangs_after_a_checkpoint_is_counted_and_one_that_cannot_be_killed_moves(
    ledger: Ledger, trials: list[Trial], tmp_path: Path
) -> None:
    now = [0.0]
    runs = str(tmp_path / "runs")
    desk = SweepDesk(ledger.uri, runs, 2, retries=1, clock=lambda: now[0], stall_seconds=60)
    desk.enter("left", "host", 1, "node-1")
    desk.enter("right", "host", 2, "node-2")
    identity = trials[0].identity
    desk.post(identity)
    taken(desk, "left")
    desk.push("left", identity, [STARTED, Checkpointed(4, "")])
    now[0] = 61.0
    assert desk.stalled() == [Stall("node-1", 1)]
    now[0] = 61.0 + KILL_SECONDS
    assert desk.stalled() == [] and desk.take("right") == "wait"
    now[0] += 1
    assert desk.stalled() == []
    assert taken(desk, "right").attempt == 2
    assert ledger.status(identity).lost == 1
    assert desk.push("left", identity, [step(5)]) is True  # should it wake up after all


def test_behind_an_address_a_trial_has_a_mirror_and_a_store_there(
    ledger: Ledger, trials: list[Trial], tmp_path: Path
) -> None:
    desk = SweepDesk(ledger.uri, str(tmp_path), 1, retries=1, mirror="memory://m/runs")
    desk.enter("left", "host", 1)
    desk.post(trials[0].identity)
    order = taken(desk, "left")
    assert order.out == str(run_folder(tmp_path, trials[0]))
    assert order.mirror == f"memory://m/runs/sliding/{trials[0].short}"
    assert order.store == f"{order.mirror}/store"


def test_a_script_that_does_not_ask_for_long_misses_steps_and_nothing_else(
    desk: SweepDesk, trials: list[Trial]
) -> None:
    desk.add(trials[0])
    desk.post(trials[0].identity)
    taken(desk, "left")
    total = 3 * CAPACITY
    for number in range(1, total + 1):
        desk.push("left", trials[0].identity, [step(number)])
    desk.push("left", trials[0].identity, [Checkpointed(total, "checkpoint")])
    desk.conclude("left", trials[0].identity, 1, Outcome(finished=DONE))
    items = [news.item for news in desk.drain()]
    steps = [item.step for item in items if isinstance(item, StepDone)]
    assert steps == list(range(total - len(steps) + 1, total + 1))
    assert CAPACITY // 2 <= len(steps) <= CAPACITY
    others = [item for item in items if not isinstance(item, StepDone)]
    assert [type(item) for item in others] == [
        *(Attempt, Attempt, Trial, TrialStatus, Checkpointed, TrialStatus)
    ]
    assert items[-1] is others[-1]
    assert isinstance(items[-1], TrialStatus) and items[-1].state is TrialState.FINISHED
    assert desk.drain() == []
