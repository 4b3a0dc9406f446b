"""Cells that are killed, that fail, and that were begun otherwise: nothing is trained twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.customization.loop import customize
from motion_ray.errors import MotionRayError, RunFolderError
from motion_ray.reproduction.cells import cells_of, config_of
from motion_ray.reproduction.clips import Clips
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.record import Record
from motion_ray.reproduction.training import train_here
from motion_ray.store import DeltaStore
from motion_ray.sweeps.status import TrialState
from motion_ray.types import Checkpointed, RunStarted, StepDone
from tests.reproduction.conftest import OpenTiny

CELLS = ("ours--slide--s0", "temporal-none--slide--s0", "uniform--slide--s0")
IMPOSSIBLE = "validation.floor={clip_model: puppet, relative: null, value: 0.99}"


class Steps:
    """Counts the steps of every cell; may stop everything after some."""

    def __init__(self, most: int = 1000) -> None:
        self.of: Counter[str] = Counter()
        self._most = most

    def __call__(self, identity: str, item: object) -> None:
        if isinstance(item, StepDone):
            self.of[identity] += 1
            if self.of.total() == self._most:
                raise KeyboardInterrupt


def states(record: Record) -> list[TrialState]:
    return [status.state for status in record.statuses().values()]


def test_a_stopped_reproduction_goes_on_and_repeats_no_cell(open_tiny: OpenTiny) -> None:
    record = open_tiny()
    assert [trial.motion for trial in record.waiting()] == list(CELLS)
    first = Steps(most=7)  # the second cell has a checkpoint of step 2
    with pytest.raises(KeyboardInterrupt):
        train_here(record, "cpu", first)
    assert states(record) == [TrialState.FINISHED, TrialState.WAITING, TrialState.WAITING]
    with pytest.raises(MotionRayError, match="is not trained: the reproduction was stopped"):
        record.outcomes()
    trained, failed = record.outcomes(so_far=True)
    assert [each.cell.name for each in trained] == [CELLS[0]] and not failed
    assert [cell.name for cell in record.to_come()] == list(CELLS[1:])

    again, second = open_tiny(), Steps()
    assert [trial.motion for trial in again.waiting()] == list(CELLS[1:])
    train_here(again, "cpu", second)
    assert list(second.of.values()) == [2, 4]
    trained, failed = again.outcomes()
    assert not failed and [each.cell.name for each in trained] == list(CELLS)
    store = DeltaStore(record.store)
    for each in trained:
        assert store.resolve(each.result.reference).name == each.cell.name
        assert each.result == each.deltas[4] and each.result.step == 4
        assert each.stopped == "max_steps" and each.seconds > 0
    assert not again.to_come() and again.outcomes(so_far=True) == (trained, failed)
    assert list(trained[0].deltas) == [2, 4]  # figure 7 looks at ours on the way
    kinds = [event.kind for event in again.ledger.history(again.trials[trained[1].cell].identity)]
    assert kinds == ["started", "interrupted", "started", "finished"]
    assert not open_tiny().waiting()


def test_cells_that_were_begun_without_a_record_and_with_relative_paths_go_on(
    open_tiny: OpenTiny, tiny_clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the versions did that kept no record: one cell finished, one on its way."""
    monkeypatch.chdir(tmp_path)
    relative = Clips(replace(tiny_clips.scale, data=Path("data")), Path("out/clips"))
    cells = cells_of([EXPERIMENTS["table2b"], EXPERIMENTS["table2d"]], relative)
    for cell, stop in zip(cells[:2], (4, 2), strict=True):
        config = config_of(cell, relative)
        assert not os.path.isabs(config.motion)
        out = Path("out/cells") / cell.name
        for event in customize(config, out, store="out/store", cache=Path("out/cache")):
            if isinstance(event, Checkpointed) and event.step == stop < 4:
                break

    record, steps = open_tiny(), Steps()
    assert states(record) == [TrialState.FINISHED, TrialState.WAITING, TrialState.WAITING]
    begun: list[RunStarted] = []
    train_here(
        record,
        "cpu",
        lambda who, item: begun.append(item) if isinstance(item, RunStarted) else steps(who, item),
    )
    assert [(each.step, each.resumed) for each in begun] == [(2, True), (0, False)]
    assert steps.of.total() == 2 + 4
    run = json.loads((record.run(record.trials[cells[1]]).root / "run.json").read_text())
    assert os.path.isabs(run["config"]["motion"])


def test_a_cell_that_cannot_be_trained_is_a_result_and_stops_nobody(open_tiny: OpenTiny) -> None:
    record, steps = open_tiny(IMPOSSIBLE), Steps()
    train_here(record, "cpu", steps)
    trained, failed = record.outcomes()
    assert not trained and [each.cell.name for each in failed] == list(CELLS)
    assert "below the floor 0.99" in failed[0].reason
    again = open_tiny(IMPOSSIBLE)
    assert not again.waiting() and again.outcomes() == (trained, failed)
    assert not again.to_come()  # it has its result
    assert len(open_tiny(IMPOSSIBLE, retry_failed=True).waiting()) == 3


def test_a_failure_of_the_machine_is_no_result_and_is_tried_again(open_tiny: OpenTiny) -> None:
    record = open_tiny()
    for trial, error in zip(record.waiting(), ("RunFolderError", "", "ConfigError"), strict=True):
        attempt = record.ledger.start(trial.identity)
        assert attempt is not None
        record.ledger.fail(trial.identity, attempt, "the disk is full", error=error)
    with pytest.raises(MotionRayError, match="ours--slide--s0: is not trained: the disk is full"):
        record.outcomes()
    assert [cell.name for cell in record.to_come()] == list(CELLS[:2])
    assert [trial.motion for trial in open_tiny().waiting()] == list(CELLS[:2])


def test_other_settings_in_the_same_folder_are_refused_before_anything_is_trained(
    open_tiny: OpenTiny,
) -> None:
    record, steps = open_tiny(), Steps(most=3)
    with pytest.raises(KeyboardInterrupt):
        train_here(record, "cpu", steps)
    with pytest.raises(RunFolderError, match=r"optimizer\.lr was 0\.001, now 0\.5"):
        open_tiny("optimizer.lr=0.5")


def test_a_lost_result_is_missed(open_tiny: OpenTiny) -> None:
    record = open_tiny()
    train_here(record, "cpu", Steps())
    (record.run(next(iter(record.trials.values()))).root / "result.json").unlink()
    with pytest.raises(RunFolderError, match=r"has lost its result\.json"):
        record.outcomes()
