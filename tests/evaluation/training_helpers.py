"""What tests of the evaluators' trainings share: a round trip without a VAE, and killed runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.one_model import RateSettings, trained_weights

Settings = TypeVar("Settings", bound=RateSettings)
Train = Callable[[Settings, Path, RoundTrip, str], Iterator[TrainingProgress]]


def halves(frames: Tensor) -> Tensor:
    """A round trip that needs no VAE: half the resolution."""
    small = functional.avg_pool2d(frames.float(), 2)
    return functional.interpolate(small, scale_factor=2).byte()


def run(
    train: Train[Settings], settings: Settings, work: Path, stop_at: int | None = None
) -> list[float]:
    """Train to the end, or let go of it after a step; the losses of its steps."""
    losses = []
    for event in train(settings, work, halves, "halves"):
        if event.loss is not None:
            losses.append(event.loss)
            if event.done == stop_at:
                break
    return losses


def assert_a_killed_run_ends_alike(
    train: Train[Settings], settings: Settings, folder: Path
) -> None:
    """Same losses and weights, bit for bit; checkpoints are to be of every second step."""
    whole = run(train, settings, folder / "whole")
    first = run(train, settings, folder / "killed", stop_at=3)  # after the checkpoint of step 2
    rest = run(train, settings, folder / "killed")
    assert first[:2] + rest == whole and len(whole) == settings.steps
    one, other = (trained_weights(settings, folder / name) for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
