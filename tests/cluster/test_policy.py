"""The policy as Tune meets it: curves from the run folders, reasons to the desk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from motion_ray.cluster.policy import PolicyScheduler
from motion_ray.cluster.runs import Runs, run_folder
from motion_ray.config import CustomizationConfig
from motion_ray.customization.run import RunFolder
from motion_ray.errors import LedgerError, MirrorError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.spec import PolicySettings
from motion_ray.sweeps.trial import Trial
from motion_ray.types import StepDone, Validated

FAILS = {LedgerError: "statuses", MirrorError: "metrics"}
CONTINUE, STOP = "CONTINUE", "STOP"  # Ray Tune's words


class Desk:
    """Takes what a scheduler tells the desk's actor."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.stop_trial = self

    def remote(self, identity: str, reason: str) -> None:
        self.told.append((identity, reason))


def learn(out: Path, loss: float) -> None:
    """A run folder with eight steps and five validations, appearance always the same."""
    out.mkdir(parents=True)
    run = RunFolder(out)
    run.log(Validated(0, 0.30, 0.27, True, 0.0))
    for step in range(1, 9):
        # Both trials see the same examples, so their losses go up and down together.
        value = (loss if step > 2 else 0.9) + 0.01 * (step % 3)
        run.log(StepDone(step, value, {"motion": value}, 1e-3, 1.0, 0.1))
        if step % 2 == 0:
            run.log(Validated(step, 0.30, 0.27, True, 0.0))


@pytest.fixture
def pair(tiny_run: CustomizationConfig, tmp_path: Path) -> tuple[Ledger, list[Trial], Path]:
    """A trial that learns and one that learns less, both running."""
    config = tiny_run.replace({"max_steps": 16})
    trials = [
        Trial(letter * 64, "m", {"optimizer.lr": lr}, config.replace({"optimizer": {"lr": lr}}))
        for letter, lr in (("a", 1e-3), ("b", 1e-5))
    ]
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(trials)
    for trial, loss in zip(trials, (0.4, 0.8), strict=True):
        ledger.start(trial.identity)
        learn(run_folder(tmp_path, trial), loss)
    return ledger, trials, tmp_path


def result(identity: str, appearance: float | None = 0.30) -> tuple[Any, dict[str, Any]]:
    return SimpleNamespace(config={"identity": identity}), {"appearance": appearance}


def test_a_trial_that_is_outdone_is_stopped_with_its_reason_and_the_better_one_is_not(
    pair: tuple[Ledger, list[Trial], Path],
) -> None:
    ledger, (better, worse), runs = pair
    desk = Desk()
    scheduler = PolicyScheduler(PolicySettings(), ledger.uri, Runs(runs), desk)
    assert scheduler.on_trial_result(None, *result(better.identity)) == CONTINUE
    assert scheduler.on_trial_result(None, *result(worse.identity)) == STOP
    [(told, reason)] = desk.told
    assert told == worse.identity and better.short in reason


def test_nothing_is_judged_without_a_new_validation(
    pair: tuple[Ledger, list[Trial], Path],
) -> None:
    ledger, (_, worse), runs = pair
    scheduler = PolicyScheduler(PolicySettings(grace=0.9), ledger.uri, Runs(runs), Desk())
    unscored = result(worse.identity, None)
    assert scheduler.on_trial_result(None, *unscored) == CONTINUE
    # Judged once, in its grace period, and not again before the next validation.
    assert scheduler.on_trial_result(None, *result(worse.identity)) == CONTINUE
    scheduler._settings = PolicySettings()
    assert scheduler.on_trial_result(None, *result(worse.identity)) == CONTINUE
    assert scheduler.on_trial_result(None, *result(worse.identity, 0.31)) == STOP


@pytest.mark.parametrize("error", [LedgerError, MirrorError])
def test_storage_that_fails_neither_ends_the_sweep_nor_uses_a_validation_up(
    pair: tuple[Ledger, list[Trial], Path], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, (_, worse), runs = pair
    scheduler = PolicyScheduler(PolicySettings(), ledger.uri, Runs(runs), Desk())

    def fail(*_: Any) -> None:
        raise error("s3://bucket", "cannot be read: timed out", "check the address")

    with monkeypatch.context() as broken:
        broken.setattr(Runs if error is MirrorError else Ledger, FAILS[error], fail)
        assert scheduler.on_trial_result(None, *result(worse.identity)) == CONTINUE
    assert scheduler.on_trial_result(None, *result(worse.identity)) == STOP


def test_the_record_is_listed_once_however_many_trials_a_motion_has(
    pair: tuple[Ledger, list[Trial], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, (_, worse), runs = pair
    scheduler = PolicyScheduler(PolicySettings(), ledger.uri, Runs(runs), Desk())
    monkeypatch.setattr(Ledger, "status", None)
    assert scheduler.on_trial_result(None, *result(worse.identity)) == STOP
