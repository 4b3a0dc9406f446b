"""What becomes of a trial's fault in a slot, without a cluster."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from motion_ray.cluster import slots
from motion_ray.errors import (
    CheckpointError,
    GpuMemoryError,
    MotionRayError,
    NonFiniteLossError,
    RunFolderError,
)

NOBODY: Any = None


@pytest.fixture
def station(monkeypatch: pytest.MonkeyPatch) -> Any:
    sender = SimpleNamespace(close=lambda: None, warn=lambda text: None)
    monkeypatch.setattr(slots, "TrialSender", lambda station, identity: sender)
    resources = SimpleNamespace(threads=torch.get_num_threads(), device="cpu")
    return SimpleNamespace(resources=resources)


def test_a_gpu_without_room_ends_the_process_and_says_first_what_to_do(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise GpuMemoryError("the GPU", "has no room for this: CUDA out of memory", "set x=1")

    monkeypatch.setattr(slots, "_events", full)
    order = SimpleNamespace(identity="a")
    with pytest.raises(RuntimeError, match=r"^the GPU has no room for it; set x=1; has no room"):
        slots.run_trial(station, order, NOBODY)  # pyright: ignore[reportArgumentType]


def test_a_trials_fault_holds_nothing_of_what_it_came_from(
    station: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot keeps the outcome while it asks for the next trial, which needs the memory."""
    model: list[weakref.ref[torch.Tensor]] = []

    def diverged(*args: object) -> None:
        weights = torch.zeros(3)
        model.append(weakref.ref(weights))
        raise NonFiniteLossError("step 3", "the loss is nan", "lower optimizer.lr")

    monkeypatch.setattr(slots, "_events", diverged)
    order = SimpleNamespace(identity="a")
    outcome = slots.run_trial(station, order, NOBODY)  # pyright: ignore[reportArgumentType]
    gc.collect()
    assert model[0]() is None
    assert isinstance(outcome.error, NonFiniteLossError)
    assert str(outcome.error) == "step 3: the loss is nan; lower optimizer.lr"


@pytest.mark.parametrize("fault", [CheckpointError, RunFolderError])
def test_a_machine_whose_own_disk_is_full_loses_the_trial_to_another(
    station: Any, monkeypatch: pytest.MonkeyPatch, fault: type[MotionRayError]
) -> None:
    def full(*args: object) -> None:
        raise fault("/mnt/runs/a", "cannot be written: no space left", "free some space")

    monkeypatch.setattr(slots, "_events", full)
    shared: Any = SimpleNamespace(identity="a", mirror=None)
    assert isinstance(slots.run_trial(station, shared, NOBODY).error, fault)
    own: Any = SimpleNamespace(identity="a", mirror="s3://bucket/runs/a")
    with pytest.raises(RuntimeError, match="this machine's own storage fails: /mnt/runs/a"):
        slots.run_trial(station, own, NOBODY)
