"""One optimizer step of customization, and everything a checkpoint needs to continue it bit for
bit.

Eq. 1 to 3: examples of D^m and D^r are drawn in the stated share, their latents sampled from the
posterior, t drawn from f(t), noise added, and the selected parameters updated. On a CPU a resumed
run ends with the same bits as one that was never interrupted: batches are a function of the step,
and every other draw comes from generators whose states are part of the checkpoint.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections import defaultdict
from collections.abc import Set
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from motion_ray.backbones.recompute import recompute_activations
from motion_ray.backbones.unet3d import UNet3DBackbone, exact_parameters
from motion_ray.config import CustomizationConfig, EngineConfig
from motion_ray.customization.adapters import add_low_rank, delta_factors
from motion_ray.customization.delta import TOKEN_EMBEDDING
from motion_ray.customization.engine import build_engine
from motion_ray.customization.examples import Batch, Examples
from motion_ray.customization.parameters import check_groups, select_parameters
from motion_ray.customization.stopping import StoppingState
from motion_ray.customization.tokens import TrainedToken, check_token_start
from motion_ray.diffusion.loss import NoiseSchedule, denoising_loss
from motion_ray.errors import CheckpointError, NonFiniteLossError
from motion_ray.precision import compute_context
from motion_ray.tensors import read_tensors
from motion_ray.types import StepDone

RNG = "rng.safetensors"
STATE = "trainer.json"


class DenoisingModel(nn.Module):
    """What an engine runs: denoiser and, if it trains, the token. The text encoder stays outside,
    frozen.

    Args:
        backbone: its denoiser is run.
        token: V*, if it trains.
        engine: says in which arithmetic.
    """

    def __init__(
        self, backbone: UNet3DBackbone, token: TrainedToken | None, engine: EngineConfig
    ) -> None:
        super().__init__()
        self.denoiser = backbone.denoiser
        self.token = token
        self._backbone, self._precision = [backbone], engine.arithmetic  # a list: not a submodule
        self._whole = engine.masters_apart

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """Noisy latents ``[b, c, f, h, w]``, ``[b]``, and text states or token ids, to the
        prediction.
        """
        backbone = self._backbone[0]
        if self._whole:
            return backbone.predict(noisy.bfloat16(), timesteps, text.bfloat16()).float()
        with compute_context(self._precision, backbone.device):
            states = text if text.is_floating_point() else backbone.encode_ids(text)
            return backbone.predict(noisy, timesteps, states)


class Trainer:
    """The state of a run in memory.

    Args:
        backbone: its selected parameters are updated in place.
        config: of the run.
        token: V*.

    Attributes:
        step: optimizer steps taken.
        stopping: the stopping rule's state; the loop updates it.
        trainable: names to the tensors that train.
    """

    def __init__(self, backbone: UNet3DBackbone, config: CustomizationConfig, token: str) -> None:
        self.step = 0
        self.stopping = StoppingState()
        self._backbone, self._config = backbone, config
        self.trainable: dict[str, nn.Parameter]
        masters: dict[str, nn.Parameter] | None = None
        if config.engine.masters_apart:
            self.trainable = _rounded(backbone, config)
            masters = {f"denoiser.{name}": each for name, each in self.trainable.items()}
        else:
            self.trainable = _denoiser_parameters(backbone, config)
        trained_token: TrainedToken | None = None
        if config.train_token:
            trained_token = TrainedToken(backbone, token, config.token_start).to(backbone.device)
            self.trainable[TOKEN_EMBEDDING] = trained_token.row
        if config.engine.activation_checkpointing:
            recompute_activations(backbone.denoiser)
        self._model = DenoisingModel(backbone, trained_token, config.engine)
        self._engine = build_engine(self._model, config, backbone.device, masters)
        self._schedule = NoiseSchedule(backbone.scheduler_config)
        self._density = config.density.build()
        self._noise = torch.Generator().manual_seed(config.seed)
        self._ambient = _seeded_ambient_state(config.seed, backbone.device)

    def take_step(self, examples: Examples) -> StepDone:
        """Draw a batch, update the parameters, report.

        Raises:
            NonFiniteLossError: loss or gradient is NaN or infinite; nothing can be saved then.
        """
        started = time.perf_counter()
        batch = examples.batch(self.step, self._noise)
        self._model.denoiser.train(self._config.engine.dropout)
        with torch.random.fork_rng(devices=_cuda_devices(self._backbone.device)):
            _set_ambient(self._ambient, self._backbone.device)
            losses = self._losses(batch)
            loss = losses.mean()
            rate = self._learning_rate()
            norm = self._engine.update(loss, rate)
            self._ambient = _ambient(self._backbone.device)
        self._model.denoiser.eval()
        value = float(loss.detach())
        if not (math.isfinite(norm) and math.isfinite(value)):
            raise NonFiniteLossError(
                f"step {self.step + 1}",
                f"the loss is {value:.4g} and the gradient norm {norm:.4g}",
                "lower optimizer.lr, or set engine.precision=fp32",
            )
        self.step += 1
        by_set: dict[str, list[float]] = defaultdict(list)
        for source, one in zip(batch.sources, losses.detach().tolist(), strict=True):
            by_set[str(source)].append(one)
        means = {source: sum(values) / len(values) for source, values in by_set.items()}
        return StepDone(self.step, value, means, rate, norm, time.perf_counter() - started)

    def _losses(self, batch: Batch) -> Tensor:
        """The loss of every example, ``[b]`` (Eq. 1)."""
        count, device = len(batch.sources), self._backbone.device
        # Drawn on the CPU whatever the device, so that a seed means the same everywhere.
        timesteps = self._density.sample(count, self._schedule.timesteps, self._noise).to(device)
        noise = torch.randn(batch.latents.shape, generator=self._noise).to(device)
        noisy = self._schedule.add_noise(batch.latents, noise, timesteps)
        prediction = self._engine.forward(noisy, timesteps, batch.text)
        return denoising_loss(prediction, self._schedule.target(batch.latents, noise, timesteps))

    def _learning_rate(self) -> float:
        settings = self._config.optimizer
        rate = settings.lr * min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        if settings.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / self._config.max_steps))
        return rate

    def learned(self) -> dict[str, Tensor]:
        """What a delta stores, on the CPU: whole values or, with ``low_rank``, factors."""
        tensors = {name: p.detach().cpu().clone() for name, p in self.trainable.items()}
        if self._config.low_rank is None:
            return tensors
        row = {n: tensors.pop(n) for n in (TOKEN_EMBEDDING,) if n in tensors}
        return {**delta_factors(tensors, self._config.low_rank), **row}

    def save(self, directory: Path) -> None:
        """Write weights, optimizer, RNG states, position and stopping state into an existing
        directory.
        """
        self._engine.save(directory)
        save_file({"noise": self._noise.get_state(), **self._ambient}, directory / RNG)
        state = {"step": self.step, "stopping": asdict(self.stopping)}
        (directory / STATE).write_text(json.dumps(state))

    def release(self) -> None:
        """Let go of gradients and the optimizer's state; nothing can be trained or saved then."""
        for parameter in self.trainable.values():
            parameter.grad = None
        del self._engine
        self.trainable = {}  # masters apart from the network would stay
        gc.collect()  # DeepSpeed's engine refers to itself
        if self._backbone.device.type == "cuda":
            torch.cuda.empty_cache()

    def load(self, directory: Path) -> None:
        """Continue from what :meth:`save` wrote."""
        self._engine.load(directory)
        states = read_tensors(directory / RNG, CheckpointError)
        self._noise.set_state(states.pop("noise"))
        self._ambient = states
        state = json.loads((directory / STATE).read_text())
        self.step = state["step"]
        self.stopping = StoppingState(**state["stopping"])


def check_trainable(backbone: UNet3DBackbone, config: CustomizationConfig, token: str) -> None:
    """Refuse what this base model cannot train, before clips are made or encoded: that takes
    minutes.

    Raises:
        ConfigError: a parameter group is not there, or the word that a token starts from is split.
        BaseModelError: the token is split, and trains.
    """
    check_groups(backbone, config.groups)
    if config.train_token:
        backbone.single_piece(token)
        check_token_start(backbone, config.token_start)


def _denoiser_parameters(
    backbone: UNet3DBackbone, config: CustomizationConfig
) -> dict[str, nn.Parameter]:
    """Whole values of the named groups, or factors of their changes; everything else is frozen."""
    if config.low_rank is not None:
        return add_low_rank(backbone, config.groups, config.low_rank, config.seed)
    rounded = {n for n, p in backbone.denoiser.named_parameters() if p.dtype != torch.float32}
    selected = dict(select_parameters(backbone, config.groups))
    with torch.no_grad():
        for name, value in _exact(backbone, config, rounded & selected.keys()).items():
            selected[name].copy_(value)
    return selected


def _rounded(backbone: UNet3DBackbone, config: CustomizationConfig) -> dict[str, nn.Parameter]:
    """Masters of the named groups, apart from a network that is rounded to bfloat16 as a whole."""
    selected = select_parameters(backbone, config.groups, masters=False)
    names = {name for name, p in selected.items() if p.dtype != torch.float32}
    values = {name: p.detach() for name, p in selected.items()}
    values |= _exact(backbone, config, names)
    masters = {
        name: nn.Parameter(value.to(backbone.device, torch.float32, copy=True))
        for name, value in values.items()
    }
    backbone.denoiser.to(torch.bfloat16)
    return masters


def _exact(
    backbone: UNet3DBackbone, config: CustomizationConfig, rounded: Set[str]
) -> dict[str, Tensor]:
    """What the base's files say where it was rounded on loading: such masters would have to move
    half a step of bfloat16 before the forward pass sees any change.
    """
    if not rounded:
        return {}
    return exact_parameters(config.model, backbone.fingerprint, rounded)


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _ambient(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_ambient(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _seeded_ambient_state(seed: int, device: torch.device) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        torch.manual_seed(seed)
        return _ambient(device)
