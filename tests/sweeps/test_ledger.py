"""The record of a sweep: what it lets happen, what it never loses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion_ray.errors import LedgerError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import Event, TrialState, TrialStatus
from tests.sweeps.samples import result, trial

REPO = Path(__file__).parents[2]


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_a_trial_runs_once_and_its_result_stays(uri: str) -> None:
    ledger, other = Ledger(uri, clock=lambda: 100.0), Ledger(uri)
    assert ledger.add([trial(1), trial(2)]) == 2
    first = trial(1).identity
    assert other.start(first, where="node-1") == 1
    assert ledger.start(first) is None  # it is running
    assert ledger.status(first).where == "node-1"
    assert other.finish(first, 1, result(step=300), seconds=12.5)
    assert not ledger.finish(first, 1, result(step=299), seconds=1.0)
    assert ledger.start(first) is None  # it is over
    status = Ledger(uri).status(first)
    assert (status.state, status.step, status.seconds) == (TrialState.FINISHED, 300, 12.5)
    assert status.result is not None and status.result["delta"] == "waving@1"
    assert Ledger(uri).statuses()[trial(2).identity].state is TrialState.WAITING


def test_the_same_trials_added_again_are_not_new_and_keep_their_place(uri: str) -> None:
    ledger = Ledger(uri)
    ledger.add([trial(3), trial(1)])
    again = Ledger(uri)
    assert again.add([trial(1), trial(2), trial(3)]) == 1
    assert again.add([trial(1), trial(2), trial(3)]) == 0
    order = [trial(3), trial(1), trial(2)]
    assert list(ledger.trials().values()) == order == list(Ledger(uri).trials().values())


def test_a_lost_attempt_waits_again_until_its_retries_are_used_up(uri: str) -> None:
    ledger, first = Ledger(uri), trial(1).identity
    ledger.add([trial(1)])
    for attempt in (1, 2):
        assert ledger.start(first) == attempt
        assert ledger.interrupt(first, attempt, "lost", retries=2) is TrialState.WAITING
    assert ledger.start(first) == 3
    assert ledger.release("the driver was killed") == [first]  # counts for nothing
    assert not ledger.status(first).timed  # nobody saw when it ended
    assert ledger.start(first) == 4
    assert ledger.interrupt(first, 4, "node 3 was lost", retries=2) is TrialState.FAILED
    assert ledger.status(first).reason == "given up after 3 lost attempts: node 3 was lost"
    assert ledger.start(first) is None
    assert ledger.reopen(first, "the node is repaired") and not ledger.reopen(first, "again")
    assert ledger.start(first) == 5
    assert ledger.interrupt(first, 5, "lost", retries=2) is TrialState.WAITING


def test_only_the_running_attempt_can_end_but_a_result_always_counts(uri: str) -> None:
    ledger, first = Ledger(uri), trial(1).identity
    ledger.add([trial(1)])
    assert not ledger.fail(first, 1, "it never ran")
    ledger.start(first)
    ledger.interrupt(first, 1, "thought to be lost", retries=2)
    ledger.start(first)
    assert not ledger.fail(first, 1, "a late word of the first attempt")
    assert not ledger.stop(first, 1, "dominated", step=10, seconds=1.0)
    assert ledger.status(first).state is TrialState.RUNNING
    assert ledger.finish(first, 1, result(), seconds=3.0)  # it had not been lost
    assert not ledger.finish(first, 2, result(), seconds=3.0)


def test_a_damaged_event_is_told_and_not_skipped(tmp_path: Path) -> None:
    ledger, first = Ledger(tmp_path), trial(1).identity
    ledger.add([trial(1)])
    ledger.start(first)
    [file] = (tmp_path / "events").iterdir()
    good = file.read_text()
    for bad in (good[:-9], good.replace("started", "ended"), good.replace(first, "0" * 64)):
        file.write_text(bad)
        with pytest.raises(LedgerError, match="is damaged"):
            Ledger(tmp_path).status(first)
    (tmp_path / "trials" / "000001.json").write_text("[{}]")
    with pytest.raises(LedgerError, match=r"000001.json: is damaged"):
        Ledger(tmp_path).trials()


def test_an_unknown_trial_and_an_unknown_address_are_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="has no trial 000000000000"):
        Ledger(tmp_path).start("0" * 64)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger("nowhere://x")


KINDS = ("started", "finished", "stopped_by_policy", "failed", "interrupted", "reopened")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 4)), max_size=20))
def test_no_history_runs_a_finished_trial_or_two_attempts_at_once(
    wishes: list[tuple[str, int]],
) -> None:
    status, running = TrialStatus(), 0
    for kind, attempt in wishes:
        event = Event.model_validate(
            {
                "trial": "0" * 64,
                "number": status.events + 1,
                "kind": kind,
                "at": 0.0,
                "attempt": attempt,
                "seconds": 1.0,
            }
        )
        if not status.allows(event.kind, event.attempt):
            with pytest.raises(ValueError, match="cannot follow"):
                status.after(event)
            continue
        if status.state is TrialState.FINISHED:
            raise AssertionError("something followed a result")
        if kind == "started":
            assert running == 0 and attempt == status.attempts + 1
        running = kind == "started"
        status = status.after(event)
        assert (status.state is TrialState.RUNNING) == running


def crash(
    folder: Path, trials: int, kills: int, seed: int, seconds: float = 280
) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.sweeps.ledger_crash", str(folder)]
    command += [str(trials), str(kills), str(seed)]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=seconds)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout)


@pytest.mark.slow  # a process of its own that imports torch
def test_killed_workers_lose_no_result_and_run_nothing_twice(tmp_path: Path) -> None:
    outcome = crash(tmp_path, trials=150, kills=12, seed=3)
    assert outcome["wrong"] == []
    assert outcome["kills"] == 12


@pytest.mark.chaos
@pytest.mark.timeout(1000)
def test_a_hundred_killed_workers_lose_no_result(tmp_path: Path) -> None:
    outcome = crash(tmp_path, trials=400, kills=100, seed=4, seconds=900)
    assert outcome["wrong"] == []
    assert int(str(outcome["interrupted"])) > 10
