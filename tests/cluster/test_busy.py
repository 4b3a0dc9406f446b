"""A folder that a lost worker still holds is waited for, wherever a worker asks for one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motion_ray.cluster.busy import when_free
from motion_ray.cluster.outcome import Outcome
from motion_ray.cluster.pretraining import StageAssignment, work_on_stage
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.training import Assignment, train_in_worker
from motion_ray.config import CustomizationConfig
from motion_ray.errors import FolderBusyError
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.workspace import Workspace
from motion_ray.types import RunFinished

DONE = RunFinished(9, 9, "max_steps", "sliding@1", "store", "report.html")


class Sender:
    """Takes what a worker sends; without a cluster."""

    sent: list[Any]

    def __init__(self, relay: Any) -> None:
        type(self).sent = []

    def announce(self) -> None:
        """Nobody is told."""

    def send(self, item: Any) -> bool:
        self.sent.append(item)
        return False

    def close(self) -> None:
        """Nothing waits."""


def busy_twice(last: Any) -> Callable[..., Iterator[Any]]:
    """A run whose folder somebody else holds when it is begun for the first two times."""
    calls = itertools.count(1)

    def run(*_: Any, **__: Any) -> Iterator[Any]:
        if next(calls) <= 2:
            raise FolderBusyError("out", "another process is running in this folder", "wait for it")
        yield last

    return run


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motion_ray.cluster.busy.LOOK_SECONDS", 0.01)
    for module in ("training", "pretraining"):
        monkeypatch.setattr(f"motion_ray.cluster.{module}.EventSender", Sender)
        monkeypatch.setattr(
            f"motion_ray.cluster.{module}.prepare_worker_environment", lambda *_: None
        )


def test_a_folder_that_stays_busy_is_told_of_once_and_then_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("motion_ray.cluster.busy.BUSY_SECONDS", 0.05)

    def work() -> None:
        raise FolderBusyError("out", "another process is running in this folder", "wait for it")

    with pytest.raises(FolderBusyError):
        when_free(work)
    assert len(caplog.records) == 1 and "another process is running" in caplog.text


def test_a_single_run_waits_for_its_folder(
    tiny_run: CustomizationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motion_ray.customization.loop.customize", busy_twice(DONE))
    assignment = Assignment(tiny_run, str(tmp_path), None, None, "cpu", None)
    assert train_in_worker({"assignment": assignment}) == Outcome(finished=DONE)


def test_a_stage_of_pretraining_waits_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = TrainingProgress("text", 1, 1, 0.1)
    monkeypatch.setattr("motion_ray.pretraining.stage.run_stage", busy_twice(progress))
    monkeypatch.setattr("motion_ray.pretraining.stages.STAGES", {"text": None})
    monkeypatch.setattr("ray.train.torch.get_device", lambda: "cpu")
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    resources = WorkerResources("cpu", 1)
    workspace = Workspace(tmp_path)
    work_on_stage({"assignment": StageAssignment("text", None, workspace, resources, None)})
    assert [item for item in Sender.sent if isinstance(item, TrainingProgress)] == [progress]
