"""The loop under every training of a shipped model: steps, checkpoints, exact resume.

What is trained is a :class:`Trainable`; where a step's randomness comes from is its business, and
it derives everything from the number of the step, so that a killed run that goes on from its last
checkpoint ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.errors import CheckpointError, NonFiniteLossError, RunFolderError
from motion_ray.files import write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.tensors import read_tensors, write_tensors

STATE = "state.safetensors"


def cpu_seconds_since(started: float) -> float:
    """Processor time since an earlier ``time.process_time()``."""
    return time.process_time() - started


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training is.

    Attributes:
        stage: what is being done.
        done: of ``total``.
        total: in the stage's own units.
        cpu_seconds: processor time so far, with that of killed runs up to their checkpoints.
        loss: of the last step, if training.
        seconds: on the clock so far, counted like ``cpu_seconds``.
    """

    stage: str
    done: int
    total: int
    cpu_seconds: float
    loss: float | None = None
    seconds: float = 0.0


LOWER = "try a lower lr, for example half of it"


class Trainable(Protocol):
    """What :func:`train` trains: modules with an optimizer, or more than one of each."""

    def step(self, step: int) -> float:
        """Do update number ``step`` (from 0); returns its loss."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that later steps depend on."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        ...


def train(
    trainable: Trainable,
    steps: int,
    checkpoints: CheckpointFolder,
    checkpoint_every: int,
    cpu_seconds: float = 0.0,
    *,
    saves: bool = True,
) -> Iterator[TrainingProgress]:
    """Train to the last step, resuming from the newest checkpoint.

    Args:
        trainable: what trains.
        steps: updates in all.
        checkpoints: where they are kept; the last step is always among them.
        checkpoint_every: steps.
        cpu_seconds: processor time that went into this training's data.
        saves: whether this process writes the checkpoints; of several that train one model
            together, one does.

    Raises:
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    step, seconds = 0, 0.0
    found = checkpoints.latest()
    if found is not None:
        step = found.step
        state = read_tensors(found.directory / STATE, CheckpointError)
        cpu_seconds, seconds = float(state.pop("cpu_seconds")), float(state.pop("seconds"))
        trainable.load_state(state)
    clock = _Clock(cpu_seconds, seconds)
    yield TrainingProgress("training", step, steps, clock.cpu_seconds, None, clock.seconds)
    while step < steps:
        loss = trainable.step(step)
        step += 1
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"step {step}", f"the loss is {loss}", LOWER)
        if saves and (step % checkpoint_every == 0 or step == steps):
            times = {"cpu_seconds": clock.cpu_seconds, "seconds": clock.seconds}
            state = {
                **trainable.state(),
                **{name: torch.tensor(value, dtype=torch.float64) for name, value in times.items()},
            }

            def write(folder: Path, state: dict[str, Tensor] = state) -> None:
                write_tensors(folder / STATE, state)

            checkpoints.save(step, write)
        yield TrainingProgress("training", step, steps, clock.cpu_seconds, loss, clock.seconds)


class _Clock:
    """Processor time and time on the clock, going on from what earlier processes spent."""

    def __init__(self, cpu_seconds: float, seconds: float) -> None:
        self._cpu = cpu_seconds - time.process_time()
        self._wall = seconds - time.monotonic()

    @property
    def cpu_seconds(self) -> float:
        return self._cpu + time.process_time()

    @property
    def seconds(self) -> float:
        return self._wall + time.monotonic()


def update(module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update from a loss, with the gradients of the module clipped to a norm of 1 together."""
    optimizer.zero_grad()
    loss.backward()
    clip_gradients(module.parameters())
    optimizer.step()


def clip_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Scale gradients down to a norm of 1 together.

    Raises:
        NonFiniteLossError: there is no such norm: an update would spoil weights and their average.
    """
    norm = float(nn.utils.clip_grad_norm_(parameters, 1.0))
    if not math.isfinite(norm):
        raise NonFiniteLossError("gradients", f"their norm is {norm}", LOWER)


def module_state(
    modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Weights and moments in one mapping: ``<module>.<name>``, ``optimizer.<index>.<name>``."""
    return weights(modules) | moments(optimizer, "optimizer")


def load_module_state(
    modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]
) -> None:
    """Undo :func:`module_state`; every module must find all its weights."""
    load_weights(modules, state)
    load_moments(optimizer, "optimizer", state)


def weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Weights and buffers of modules: ``<module>.<name>``."""
    return {
        f"{prefix}.{name}": value
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }


def load_weights(modules: Mapping[str, nn.Module], state: Mapping[str, Tensor]) -> None:
    """Undo :func:`weights`; every module must find all its weights."""
    for prefix, module in modules.items():
        module.load_state_dict(with_prefix(state, prefix))


def moments(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """What an optimizer keeps of each parameter: ``<prefix>.<index>.<name>``."""
    return {
        f"{prefix}.{index}.{name}": value
        for index, kept in optimizer.state_dict()["state"].items()
        for name, value in kept.items()
    }


def load_moments(
    optimizer: torch.optim.Optimizer, prefix: str, state: Mapping[str, Tensor]
) -> None:
    """Undo :func:`moments`."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in with_prefix(state, prefix).items():
        index, moment = name.split(".")
        found.setdefault(int(index), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": found, "param_groups": groups})


def with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What stands under a prefix, without it."""
    start = prefix + "."
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}


def final_state(checkpoints: CheckpointFolder, steps: int) -> dict[str, Tensor]:
    """The state of a finished training.

    Raises:
        CheckpointError: it has not finished.
    """
    return read_tensors(checkpoints.at(steps).directory / STATE, CheckpointError)


def claim_work_folder(work: Path, identity: Mapping[str, Any]) -> None:
    """Mark a folder as this training's.

    Raises:
        RunFolderError: it belongs to a training with another identity.
    """
    mark, text = work / "settings.json", canonical_json(dict(identity))
    if mark.is_file() and mark.read_text() != text:
        raise RunFolderError(
            str(work), "belongs to a run with other settings", "name another --work folder"
        )
    write_text_atomic(mark, text, RunFolderError)
