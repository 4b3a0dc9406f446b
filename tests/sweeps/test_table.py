"""The table of a sweep: rows, totals, time left, JSON lines, and how it is drawn."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from jobs.sweep_table import draw_table
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.table import Pulse, json_lines, make_table
from motion_ray.sweeps.trial import Trial
from tests.sweeps.samples import trial


def steps(number: int, max_steps: int = 100) -> Trial:
    one = trial(number)
    return dataclasses.replace(one, config=one.config.replace({"max_steps": max_steps}))


TRIALS = {each.identity: each for each in (steps(n) for n in range(5))}
KEYS = list(TRIALS)


def statuses(*states: TrialState) -> dict[str, TrialStatus]:
    done = TrialStatus(state=TrialState.FINISHED, attempts=1, step=100, seconds=200.0)
    found = {
        TrialState.FINISHED: done,
        TrialState.RUNNING: TrialStatus(TrialState.RUNNING, attempts=1, where="node-2 GPU 1"),
        TrialState.FAILED: TrialStatus(TrialState.FAILED, attempts=1, reason="a.mp4: is damaged"),
        TrialState.WAITING: TrialStatus(),
    }
    return {KEYS[i]: found[state] for i, state in enumerate(states)}


F, R, W, X = TrialState.FINISHED, TrialState.RUNNING, TrialState.WAITING, TrialState.FAILED


def test_what_happens_now_comes_first_and_totals_add_up() -> None:
    pulses = {KEYS[1]: Pulse(40, 0.21, 0.79, 0.72, seconds_per_step=3.0)}
    table = make_table(TRIALS, statuses(F, R, X, W, W), pulses, slots=1)
    assert [row.state for row in table.rows] == [R, X, W, W, F]
    running = table.rows[0]
    assert (running.step, running.loss, running.where) == (40, 0.21, "node-2 GPU 1")
    assert running.seconds_left == 60 * 3.0
    assert table.rows[1].seconds_left is None and table.rows[1].reason == "a.mp4: is damaged"
    assert table.totals.states == {"finished": 1, "running": 1, "failed": 1, "waiting": 2}
    assert table.totals.attempts == 3


@pytest.mark.parametrize(
    ("states", "slots", "left"),
    [
        ((F, F), 2, 0.0),  # all over
        ((F, W, W, W), 1, 600.0),  # 3 x 100 steps x 2 s, one after another
        ((F, W, W, W), 2, 400.0),  # two at once, then one
        ((F, R, W, W, W), 2, 400.0),  # one is free after 180 s: 200, 180 + 200, 200 + 200
        ((W, W), 2, None),  # no pace is known yet
    ],
)
def test_time_left_is_that_of_trials_that_take_the_first_free_slot(
    states: tuple[TrialState, ...], slots: int, left: float | None
) -> None:
    pulses = {KEYS[1]: Pulse(40, seconds_per_step=3.0)} if R in states else {}
    found = make_table(TRIALS, statuses(*states), pulses, slots).totals.seconds_left
    assert found == left


def test_time_is_reckoned_for_trials_that_a_searcher_has_still_to_think_of() -> None:
    known = make_table(TRIALS, statuses(F, F), {}, slots=1).totals
    assert known.seconds_left == 0.0
    left = make_table(TRIALS, statuses(F, F), {}, slots=2, unasked=3).totals.seconds_left
    one = make_table(TRIALS, statuses(F, F, W), {}, slots=1).totals.seconds_left
    assert left is not None and one is not None and left == pytest.approx(2 * one)


def test_a_trial_of_which_a_part_was_trained_unseen_sets_no_pace() -> None:
    """Its last attempt, of a few steps, would make all others look many times as fast."""
    known = statuses(F, F, W)
    known[KEYS[0]] = dataclasses.replace(known[KEYS[0]], seconds=2.0, timed=False)
    assert make_table(TRIALS, known, {}, slots=1).totals.seconds_left == 200.0


def test_json_lines_tell_what_changed() -> None:
    before = make_table(TRIALS, statuses(F, R, W), {}, slots=1)
    lines = [json.loads(line) for line in json_lines(before)]
    assert [line["event"] for line in lines] == ["trial"] * 3 + ["sweep"]
    assert lines[0]["state"] == "running"
    assert json_lines(before, before) == []
    after = make_table(TRIALS, statuses(F, R, W), {KEYS[1]: Pulse(50)}, slots=1)
    changed, totals = [json.loads(line) for line in json_lines(after, before)]
    assert (changed["trial"], changed["step"]) == (TRIALS[KEYS[1]].short, 50)
    assert (totals["event"], totals["seconds_left"]) == (
        "sweep",
        100.0 + 200.0,
    )  # the running one, then the waiting one


def test_the_drawn_table_fits_its_screen_and_counts_the_rest() -> None:
    table = make_table(TRIALS, statuses(F, R, X, W, W), {}, slots=1)
    screen = io.StringIO()
    Console(file=screen, width=120).print(draw_table(table, height=7))
    lines = screen.getvalue().splitlines()
    assert len(lines) == 1 + 1 + 3 + 1
    assert lines[0].startswith("1 finished · 1 running")
    assert "node-2 GPU 1" in lines[2] and "a.mp4: is damaged" in lines[3]
    assert lines[-1] == "and 2 more"
