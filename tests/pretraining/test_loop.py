"""The loop under every training: what it refuses, what it writes, what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.errors import NonFiniteLossError
from motion_ray.pretraining.loop import train, update


class Counting:
    """Its loss is the number of its steps; NaN at one of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.count, self.fails_at = torch.zeros(()), fails_at

    def step(self, step: int) -> float:
        self.count += 1
        return float("nan") if step == self.fails_at else float(self.count)

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.count = state["count"]


def test_a_loss_that_is_not_finite_ends_the_training_and_is_not_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    with pytest.raises(NonFiniteLossError, match=r"step 4.*nan.*lower lr"):
        list(train(Counting(fails_at=3), 8, checkpoints, 2))
    assert checkpoints.steps() == [2]


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    layer = torch.nn.Linear(1, 1)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters())
    loss = (layer.weight - before).sqrt().sum()  # 0, and as steep as can be
    with pytest.raises(NonFiniteLossError, match=r"gradients: their norm is (nan|inf).*lower lr"):
        update(layer, optimizer, loss)
    assert torch.equal(layer.weight, before)


def test_only_the_process_that_saves_writes(tmp_path: Path) -> None:
    assert len(list(train(Counting(), 4, CheckpointFolder(tmp_path), 2, saves=False))) == 5
    assert not list(tmp_path.iterdir())


def test_times_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    first = list(train(Counting(), 4, CheckpointFolder(tmp_path), 2, cpu_seconds=100.0))
    assert first[0].cpu_seconds >= 100 and first[0].seconds < 1
    again = list(train(Counting(), 6, CheckpointFolder(tmp_path), 2))
    assert [event.done for event in again] == [4, 5, 6]
    assert again[0].cpu_seconds >= first[-2].cpu_seconds and again[0].seconds >= first[-2].seconds
    assert [event.loss for event in again] == [None, 5.0, 6.0]
