"""The commonest training under :func:`motion_ray.pretraining.loop.train`: one network, one
optimizer, a learning rate that warms up and then falls in a cosine to a hundredth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.pretraining.loop import (
    final_state,
    load_module_state,
    module_state,
    update,
    with_prefix,
)
from motion_ray.pretraining.rates import warm_cosine

LOWEST_RATE = 0.01  # of the highest, at the end
MODEL = "model"
CHECKPOINTS = "checkpoints"


class RateSettings(Protocol):
    """What the settings of such a training hold."""

    @property
    def steps(self) -> int:
        """Updates in all."""
        ...

    @property
    def lr(self) -> float:
        """Highest learning rate."""
        ...

    @property
    def warmup(self) -> int:
        """Updates of its rise."""
        ...


class OneModelTraining(ABC):
    """A :class:`~motion_ray.pretraining.loop.Trainable` that lacks its loss.

    Args:
        settings: see above.
        model: trains.
        optimizer: of its parameters.
    """

    def __init__(
        self, settings: RateSettings, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._settings, self._model, self._optimizer = settings, model, optimizer

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """Of the batch of a step, which depends on the step's number only."""

    def step(self, step: int) -> float:
        """One update."""
        s = self._settings
        self._model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = s.lr * warm_cosine(step, s.steps, s.warmup, LOWEST_RATE)
        loss = self.loss(step)
        update(self._model, self._optimizer, loss)
        return loss.item()

    def state(self) -> dict[str, Tensor]:
        """Weights, statistics and moments."""
        return module_state({MODEL: self._model}, self._optimizer)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Weights, statistics and moments."""
        load_module_state({MODEL: self._model}, self._optimizer, state)


def checkpoints_of(work: Path) -> CheckpointFolder:
    """Where such a training keeps its checkpoints."""
    return CheckpointFolder(work / CHECKPOINTS)


def trained_weights(settings: RateSettings, work: Path) -> dict[str, Tensor]:
    """The state of the finished model.

    Raises:
        CheckpointError: the training has not finished.
    """
    return with_prefix(final_state(checkpoints_of(work), settings.steps), MODEL)
