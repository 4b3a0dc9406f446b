"""Training what is missing, cell by cell, in this process; a killed cell goes on where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize, step_name
from motion_ray.customization.models import ModelSource
from motion_ray.errors import ConfigError, NonFiniteLossError
from motion_ray.reproduction.cells import Cell
from motion_ray.types import RunFinished, TrainEvent

log = logging.getLogger(__name__)
OnEvent = Callable[[Cell, TrainEvent], None]


@dataclass(frozen=True)
class Trained:
    """A finished cell.

    Attributes:
        cell: itself.
        config: of its run.
        deltas: step to the name of its delta in the store, in ascending order; the last is the
            cell's result.
        stopped: why training ended.
    """

    cell: Cell
    config: CustomizationConfig
    deltas: dict[int, str]
    stopped: str


@dataclass(frozen=True)
class Failed:
    """A cell that cannot be trained, however often it is tried.

    Attributes:
        cell: itself.
        reason: in a line.
    """

    cell: Cell
    reason: str


def train(
    cell: Cell,
    config: CustomizationConfig,
    root: Path,
    models: ModelSource,
    device: str | None,
    on_event: OnEvent,
) -> Trained | Failed:
    """Train a cell, or go on with it; a finished one returns at once.

    Args:
        cell: to train.
        config: from :func:`motion_ray.reproduction.cells.config_of`.
        root: of the reproduction: ``cells/``, ``store/`` and ``cache/`` are in it.
        models: where base and encoder come from.
        device: null takes the GPU if there is one.
        on_event: told everything that happens.

    Raises:
        MotionRayError: a full disk, damaged clips, a folder of another run: what ends more than
            this cell.
    """
    out, store = root / "cells" / cell.name, root / "store"
    try:
        events = customize(
            config, out, store=str(store), cache=root / "cache", device=device, models=models
        )
        for event in events:
            on_event(cell, event)
            if isinstance(event, RunFinished):
                return Trained(cell, config, _deltas(config, event), event.reason)
    except (ConfigError, NonFiniteLossError) as error:
        # Appearance below the floor before there is a step to keep, or a loss that explodes: that
        # is a result of this method, and the others' are still to come.
        log.warning("%s cannot be trained: %s", cell.name, error)
        return Failed(cell, str(error))
    raise AssertionError("a customization ends with RunFinished")


def _deltas(config: CustomizationConfig, finished: RunFinished) -> dict[int, str]:
    last = finished.delta_step
    assert config.name is not None
    found = {}
    if config.validation.publish:
        found = {
            step: step_name(config.name, step)
            for step in range(config.validation.every, last, config.validation.every)
        }
    return {**found, last: finished.delta}
