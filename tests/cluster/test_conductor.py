"""When slots of a sweep are started again, and when it is given up, without a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from motion_ray.cluster import sweep
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.sweep import Conductor, Standing, SweepPlan
from motion_ray.config import CustomizationConfig
from motion_ray.sweeps.trial import Trial
from tests.waiting import until

NOBODY: Any = None


@dataclass
class Slot:
    name: str
    over: bool = False
    failure: Exception | None = None

    def end(self, failure: Exception | None) -> None:
        self.over, self.failure = True, failure


class Cluster:
    """Slots that end when they are told to, and Tune, which ends when it is let go."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.let_go = threading.Event()
        self.tunes_fault: Exception | None = None

    def start_slot(self, station: Any, folder: str) -> Slot:
        self.slots.append(Slot(station.slot))
        return self.slots[-1]

    def tune(self, plan: SweepPlan, desk: Any) -> None:
        self.let_go.wait()
        if self.tunes_fault is not None:
            raise self.tunes_fault


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    monkeypatch.setattr(sweep, "start_slot", cluster.start_slot)
    monkeypatch.setattr(sweep, "start_scorers", lambda count, resources: [])
    monkeypatch.setattr(sweep, "_tune", cluster.tune)
    yield cluster
    cluster.let_go.set()


@pytest.fixture
def conductor(cluster: Cluster, tiny_run: CustomizationConfig, tmp_path: Path) -> Conductor:
    trials = [Trial(letter * 64, "sliding", {}, tiny_run) for letter in "abc"]
    places = (str(tmp_path), tmp_path, tmp_path, tmp_path)
    return Conductor(SweepPlan(trials, *places, 2, 1, WorkerResources("cpu", 1.0, 0.0)), NOBODY)


def test_a_slot_that_found_no_machine_waits_again_while_others_work(
    cluster: Cluster, conductor: Conductor
) -> None:
    assert conductor.look() == Standing(False, 2, None)
    cluster.slots[1].end(sweep.ControllerError(TimeoutError("no node came")))
    assert not conductor.look().over
    assert [slot.name for slot in cluster.slots] == ["slot-000", "slot-001", "slot-001"]
    assert conductor.look() == Standing(False, 2, None)
    assert len(cluster.slots) == 3


def test_a_slot_that_was_let_go_or_lost_too_many_workers_is_not_started_again(
    cluster: Cluster, conductor: Conductor
) -> None:
    cluster.slots[1].end(RuntimeError("50 workers were lost"))
    assert conductor.look() == Standing(False, 1, None)
    cluster.slots[0].end(None)
    assert conductor.look() == Standing(True, 0, "50 workers were lost")
    assert len(cluster.slots) == 2


def test_a_sweep_for_which_no_machine_comes_at_all_is_given_up(
    cluster: Cluster, conductor: Conductor
) -> None:
    for slot in cluster.slots:
        slot.end(sweep.ControllerError(TimeoutError("no node came")))
    standing = conductor.look()
    assert (standing.over, standing.slots) == (True, 0)
    assert "no node came" in (standing.failure or "")
    assert len(cluster.slots) == 2


def test_the_reason_for_which_tune_gave_up_is_told(cluster: Cluster, conductor: Conductor) -> None:
    cluster.tunes_fault = OSError("the bucket is gone")
    cluster.let_go.set()
    until(lambda: conductor.look().over)
    assert conductor.look().failure == "the bucket is gone"
