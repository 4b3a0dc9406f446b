"""What a person is told about a run."""

from __future__ import annotations

import logging

import pytest

from motion_ray.cluster.progress import Progress, format_seconds, news
from motion_ray.cluster.relay import Attempt, Notice
from motion_ray.types import Checkpointed, Preparing, RunFinished, RunStarted, StepDone, Validated
from tests.waiting import Clock


def started(step: int = 0, max_steps: int = 100, resumed: bool = False) -> RunStarted:
    return RunStarted(step, max_steps, 5_000_000, 99, 10, 60, "cpu", resumed)


def step(number: int, loss: float = 0.1, source: str = "motion", seconds: float = 0.5) -> StepDone:
    return StepDone(number, loss, {source: loss}, 1e-4, 1.0, seconds)


def test_the_time_left_counts_what_lies_between_the_steps() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.update(started(step=20))
    assert progress.seconds_left() is None
    clock.now = 100.0  # the validation before the first step comes once
    progress.update(step(21))
    assert progress.seconds_left() == pytest.approx(79 * 0.5)
    clock.now = 109.5  # four more steps of half a second, and a validation between them
    for number in range(22, 26):
        progress.update(step(number))
    assert progress.seconds_left() == pytest.approx(75 * 10 / 5)
    assert progress.seconds_per_step == pytest.approx(0.5)


def test_the_smoothed_loss_begins_as_a_mean_and_keeps_sets_apart() -> None:
    progress = Progress(Clock())
    progress.update(started())
    for number, loss in enumerate([0.4, 0.2], 1):
        progress.update(step(number, loss))
    progress.update(step(3, 0.9, "regularization"))
    assert progress.losses["motion"] == pytest.approx((0.4 * 0.98 + 0.2) / 1.98)
    assert progress.losses["regularization"] == pytest.approx(0.9)


def test_the_smoothed_loss_follows_a_lasting_change() -> None:
    progress = Progress(Clock())
    progress.update(started(max_steps=2000))
    for number in range(1, 1001):
        progress.update(step(number, 1.0 if number <= 500 else 0.0))
    assert progress.losses["motion"] < 0.001


def test_a_resumed_run_knows_its_checkpoint_and_a_line_says_everything() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.update(started(step=40, resumed=True))
    assert progress.checkpoint == progress.resumed_at == 40
    clock.now = 30.0
    progress.update(step(41))
    clock.now = 56.5
    progress.update(step(50))
    progress.update(Validated(50, 0.26, 0.25, True, 3.0))
    progress.update(Checkpointed(50, "x"))
    assert progress.line() == (
        "step 50/100 | loss motion 0.1000 | appearance 0.2600 (floor 0.2500) | 0.50 s/step | "
        "at most 2:15 left | checkpoint 50"
    )


def test_a_table_of_trials_counts_the_time_of_validations() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.update(started())
    clock.now = 0.5
    progress.update(step(1))
    clock.now = 30.5  # it was validated
    progress.update(step(2))
    assert progress.pulse().seconds_per_step == pytest.approx(30.5 / 2)
    assert "0.50 s/step" in progress.line()  # of training alone


def test_stages_before_and_after_training_show_their_count() -> None:
    progress = Progress(Clock())
    assert progress.line() == "waiting for a worker"
    progress.update(Preparing("encoding motion clips", 3, 10))
    assert progress.line() == "encoding motion clips 3/10"
    progress.update(started())
    assert progress.line().startswith("step 0/100")
    progress.update(Preparing("publishing the delta", 0, 1))
    assert progress.line() == "publishing the delta"
    progress.update(RunFinished(100, 100, "max_steps", "m@1", "s", "r"))
    assert progress.finished is not None and not progress.training


def test_a_worker_that_starts_again_is_told_apart_from_the_first() -> None:
    progress = Progress(Clock())
    progress.update(started())
    progress.update(Attempt(2, "node-b", 7))
    assert (progress.attempts, progress.training) == (2, False)
    assert news(Attempt(1, "node-a", 7)) == "worker started on node-a (process 7)"
    assert news(Attempt(2, "node-b", 7)) == "worker started again on node-b (process 7, attempt 2)"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (step(1), None),
        (Checkpointed(1, "x"), None),
        (Notice(logging.WARNING, "cache entry damaged"), "cache entry damaged"),
        (
            Validated(4, 0.2, 0.25, False, 1.0),
            "validation at step 4: appearance 0.2000, below the floor 0.2500",
        ),
    ],
)
def test_only_what_is_worth_keeping_gets_a_line_of_its_own(item: object, line: str | None) -> None:
    assert news(item) == line  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3723, "1:02:03")])
def test_seconds_are_written_like_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
