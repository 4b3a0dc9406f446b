"""Who runs backward, clipping and the optimizer: plain torch (the reference), DeepSpeed (what
trials use), or plain torch around a network in bfloat16 (the fastest at full size).

The first two use torch's AdamW on the same float32 master weights and the same forward pass, so
that their losses are equal (tested for 20 steps to 1e-5 in float32). An engine saves and restores
the trainable weights and the optimizer's state; everything else of a checkpoint is the trainer's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from motion_ray.config import CustomizationConfig, OptimizerConfig
from motion_ray.customization.deepspeed_setup import barriers_of_one, initialize
from motion_ray.errors import CheckpointError
from motion_ray.tensors import read_tensors, write_tensors

STATE = "engine.safetensors"


class TrainEngine(Protocol):
    """Forward, update, save and load."""

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The denoiser's prediction ``[b, c, f, h, w]``, with gradients."""
        ...

    def update(self, loss: Tensor, learning_rate: float) -> float:
        """Backward, clip and step; returns the gradient norm before clipping (not finite: nothing
        learned).
        """
        ...

    def save(self, directory: Path) -> None:
        """Write trainable weights and optimizer state into an existing directory."""
        ...

    def load(self, directory: Path) -> None:
        """Read what :meth:`save` wrote."""
        ...


class TorchEngine:
    """The reference: an AdamW over the trainable parameters.

    Args:
        model: called with (noisy, timesteps, text); its parameters that require gradients train.
        optimizer: settings.
    """

    def __init__(self, model: nn.Module, optimizer: OptimizerConfig) -> None:
        self._model = model
        self._trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._clip = optimizer.grad_clip
        self._optimizer = adamw(list(self._trainable.values()), optimizer)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """See :class:`TrainEngine`."""
        return self._model(noisy, timesteps, text)

    def update(self, loss: Tensor, learning_rate: float) -> float:
        """See :class:`TrainEngine`. A gradient that is not finite leaves weights and state as they
        were.
        """
        loss.backward()
        return self._descend(learning_rate)

    def _descend(self, learning_rate: float) -> float:
        """Clip, step, and let the gradients go."""
        norm = float(nn.utils.clip_grad_norm_(self._trainable.values(), self._clip))
        if math.isfinite(norm):
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
            self._optimizer.step()
        # Now, not before the next backward: the next forward needs their memory.
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def save(self, directory: Path) -> None:
        """One safetensors file: ``weight/<name>`` and, once stepped, ``<moment>/<name>``."""
        tensors = {f"weight/{name}": p.detach() for name, p in self._trainable.items()}
        for name, parameter in self._trainable.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        write_tensors(directory / STATE, tensors)  # one after another: all at once is gigabytes

    def load(self, directory: Path) -> None:
        """Restore weights and moments.

        Raises:
            CheckpointError: the file holds other parameters than this model trains.
        """
        tensors = read_tensors(directory / STATE, CheckpointError)
        names = {key.partition("/")[2] for key in tensors if key.startswith("weight/")}
        if names != set(self._trainable):
            raise CheckpointError(
                directory / STATE,
                "holds other parameters than this run trains",
                "use a new --out folder",
            )
        with torch.no_grad():
            for name, parameter in self._trainable.items():
                parameter.copy_(tensors[f"weight/{name}"])
                state = {
                    key.partition("/")[0]: value
                    for key, value in tensors.items()
                    if key.partition("/")[2] == name and not key.startswith("weight/")
                }
                self._optimizer.state[parameter] = {
                    key: self._counter(value, parameter) if key == "step" else value.to(parameter)
                    for key, value in state.items()
                }

    def _counter(self, step: Tensor, parameter: nn.Parameter) -> Tensor:
        """AdamW keeps its step counter on the CPU, a fused one beside the parameter: its kernel
        reads the counter where the parameter is, without looking.
        """
        fused = self._optimizer.param_groups[0]["fused"]
        return step.to(parameter.device, copy=True) if fused else step.clone()


class MasterEngine(TorchEngine):
    """An AdamW over float32 master weights of a network that computes in bfloat16.

    Autocast keeps what trains in float32, casts it at every use and runs norms in float32; here
    every tensor that a step reads or writes has half the size. An update smaller than bfloat16 can
    tell adds up in the masters.

    Args:
        model: as for :class:`TorchEngine`; what trains holds the masters, rounded.
        optimizer: settings.
        masters: exact values by the model's parameter names, float32.
    """

    def __init__(
        self, model: nn.Module, optimizer: OptimizerConfig, masters: Mapping[str, nn.Parameter]
    ) -> None:
        super().__init__(model, optimizer)
        self._weights: list[Tensor] = list(self._trainable.values())
        self._trainable = {name: masters[name] for name in self._trainable}
        self._optimizer = adamw(list(self._trainable.values()), optimizer)
        self._round()

    def update(self, loss: Tensor, learning_rate: float) -> float:
        """See :class:`TrainEngine`."""
        loss.backward()
        given: list[Tensor] = []
        taken: list[Tensor] = []
        for weight, master in zip(self._weights, self._trainable.values(), strict=True):
            if weight.grad is not None:  # a picture, for example, passes temporal layers by
                master.grad = torch.empty_like(master)
                given.append(weight.grad)
                taken.append(master.grad)
                weight.grad = None
        torch._foreach_copy_(taken, given)
        del given
        norm = self._descend(learning_rate)
        self._round()
        return norm

    def load(self, directory: Path) -> None:
        """See :class:`TorchEngine`."""
        super().load(directory)
        self._round()

    @torch.no_grad()
    def _round(self) -> None:
        masters: list[Tensor] = list(self._trainable.values())
        torch._foreach_copy_(self._weights, masters)


class DeepSpeedEngine:
    """DeepSpeed's engine around the same model and the same AdamW: ZeRO 0, 1 or 2, optional
    offload.

    Runs in one process a trial; a process group is made if the launcher (Ray Train, torchrun) has
    not.

    Args:
        model: as for :class:`TorchEngine`.
        config: optimizer, ZeRO stage and offload.
        device: of the model.
    """

    def __init__(self, model: nn.Module, config: CustomizationConfig, device: torch.device) -> None:
        self._model = model
        self._trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._zero, self._clip = config.engine.zero_stage, config.optimizer.grad_clip
        optimizer = adamw(list(self._trainable.values()), config.optimizer)
        self._engine = initialize(model, optimizer, config, device)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """See :class:`TrainEngine`."""
        return self._engine(noisy, timesteps, text)

    def update(self, loss: Tensor, learning_rate: float) -> float:
        """See :class:`TrainEngine`."""
        self._engine.backward(loss)
        norm = None
        if self._zero == 0:
            # DeepSpeed clips without telling the norm in this mode, tensor by tensor.
            norm = float(nn.utils.clip_grad_norm_(self._trainable.values(), self._clip))
            if not math.isfinite(norm):
                self._engine.optimizer.zero_grad()  # or the next gradient would be added to it
                return norm
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        if norm is None:
            norm = float(self._engine.get_global_grad_norm())
            norm = norm if norm >= 0 else float("nan")  # its sign of one that is not finite
        return norm

    def save(self, directory: Path) -> None:
        """DeepSpeed's own checkpoint, trainable parameters only."""
        with barriers_of_one():
            self._engine.save_checkpoint(
                str(directory), tag="deepspeed", save_latest=False, exclude_frozen_parameters=True
            )

    def load(self, directory: Path) -> None:
        """Restore weights and optimizer state.

        Raises:
            CheckpointError: DeepSpeed finds nothing to load.
        """
        with barriers_of_one():
            path, _ = self._engine.load_checkpoint(
                str(directory),
                tag="deepspeed",
                load_module_strict=False,
                load_lr_scheduler_states=False,
            )
        if path is None:
            raise CheckpointError(
                directory, "holds no DeepSpeed state", "the folder was written by another engine"
            )


def adamw(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW as configured, fused: one pass over all tensors, of which there are some hundred small
    ones. On a CPU too it takes a fifth of the time.
    """
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def build_engine(
    model: nn.Module,
    config: CustomizationConfig,
    device: torch.device,
    masters: Mapping[str, nn.Parameter] | None = None,
) -> TrainEngine:
    """The engine that the config names.

    Args:
        model: as for :class:`TorchEngine`.
        config: of the run.
        device: of the model.
        masters: for :class:`MasterEngine`.
    """
    if masters is not None:
        return MasterEngine(model, config.optimizer, masters)
    if config.engine.name == "deepspeed":
        return DeepSpeedEngine(model, config, device)
    return TorchEngine(model, config.optimizer)
