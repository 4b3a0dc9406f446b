"""Training of the denoiser from encoded clips: single frames first, then clips.

The objective is the customization's (Eq. 1 with what the scheduler says is predicted). Images come
first because text is learned there, at a tenth of a clip's price: every temporal layer is left out.
In video training every fifth update is on single frames that go through the temporal layers, so
that a clip of one frame stays something the model knows.

Shapes: b batch, c latent channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

from motion_ray.backbones.bypass import without_temporal_layers
from motion_ray.backbones.embedded import scheduler_config
from motion_ray.backbones.partition import partition_unet3d
from motion_ray.diffusion.loss import NoiseSchedule, denoising_loss
from motion_ray.errors import ConfigError
from motion_ray.precision import compute_context
from motion_ray.pretraining.denoiser_batches import Data, DenoiserSettings, draw_batch, on_frames
from motion_ray.pretraining.loop import (
    clip_gradients,
    load_moments,
    load_weights,
    moments,
    weights,
)
from motion_ray.pretraining.muon import Muon
from motion_ray.pretraining.rates import running_average, warm_cosine
from motion_ray.pretraining.workspace import Workspace
from motion_ray.types import TEMPORAL

QUARTERS = 4  # of the noise levels, for which the loss is reported apart
OPTIMIZERS = ("muon", "adamw")
#: Parts of a UNet whose matrices are not hidden layers: Muon is not for them.
OUTER = ("conv_in.", "conv_out.", "time_embedding.")


class DenoiserTraining:
    """Trains a denoiser; see :class:`~motion_ray.pretraining.loop.Trainable`.

    Args:
        settings: of the training.
        unet: what is trained, on its device.
        data: clips and captions.
        images: image training: single frames only, temporal layers left out.
        workspace: device and processes.

    Raises:
        ConfigError: the optimizer is unknown, or the batch cannot be shared.
    """

    def __init__(
        self,
        settings: DenoiserSettings,
        unet: UNet3DConditionModel,
        data: Data,
        images: bool,
        workspace: Workspace,
    ) -> None:
        self.settings, self.unet, self.data, self.images = settings, unet, data, images
        self.workspace = workspace
        workspace.replicas.check_share("batch", settings.batch)
        workspace.replicas.check_share("frames_batch", settings.frames_batch)
        self.schedule = NoiseSchedule(scheduler_config())
        self.trained = _trainable(unet, images)
        self.average = running_average(unet, settings.average)
        self.training = workspace.replicas.parallel(unet)
        self.optimizers = build_optimizers(settings, self.trained)
        # Loss summed and examples counted in each quarter of the noise levels, since the report.
        self.losses = torch.zeros(2, QUARTERS, dtype=torch.float64)

    def step(self, step: int) -> float:
        """One update; returns its loss."""
        s, workspace = self.settings, self.workspace
        factor = warm_cosine(step, s.steps, s.warmup, s.lr_floor)
        batch = draw_batch(s, self.data, self.images, self.schedule.timesteps, step).shared(
            workspace
        )
        noisy = self.schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
        target = self.schedule.target(batch.latents, batch.noise, batch.timesteps)
        with torch.no_grad():
            text = self.data.encoder(batch.ids).last_hidden_state
        with self._layers(), compute_context(s.precision, workspace.device):
            predicted = self.training(
                noisy, batch.timesteps, encoder_hidden_states=text, return_dict=False
            )[0]
        losses = denoising_loss(predicted, target)
        self.unet.zero_grad(set_to_none=True)
        losses.mean().backward()
        clip_gradients(self.trained.values())
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = s.lr * factor
            optimizer.step()
        self.average.update_parameters(self.unet)
        return self._measure(step, losses.detach(), batch.timesteps)

    def _layers(self) -> contextlib.AbstractContextManager[None]:
        return without_temporal_layers(self.unet) if self.images else contextlib.nullcontext()

    def _measure(self, step: int, losses: Tensor, timesteps: Tensor) -> float:
        """Note the losses of all processes; returns their mean."""
        quarter = timesteps * QUARTERS // self.schedule.timesteps
        seen = losses.new_zeros(2, QUARTERS)
        seen[0].index_add_(0, quarter, losses)
        seen[1].index_add_(0, quarter, torch.ones_like(losses))
        seen = self.workspace.replicas.mean(seen).cpu().double()
        if self.images or not on_frames(self.settings, False, step):
            self.losses += seen
        return float(seen[0].sum() / seen[1].sum())

    def report(self) -> dict[str, Any]:
        """Mean loss since the last report, of all noise levels and by quarter from low to high."""
        total, count = self.losses
        quarters = [float(a / b) if b else None for a, b in zip(total, count, strict=True)]
        report = {"quarters": quarters}
        if count.sum():
            report["loss"] = float(total.sum() / count.sum())  # pyright: ignore
        self.losses.zero_()
        return report

    def state(self) -> dict[str, Tensor]:
        """Weights, their average, moments and measurements."""
        state = weights({"unet": self.unet, "average": self.average})
        for name, optimizer in self.optimizers.items():
            state |= moments(optimizer, name)
        return {**state, "losses": self.losses}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Undo :meth:`state`."""
        load_weights({"unet": self.unet, "average": self.average}, state)
        for name, optimizer in self.optimizers.items():
            load_moments(optimizer, name, state)
        self.losses.copy_(state["losses"])


def build_optimizers(
    settings: DenoiserSettings, trained: Mapping[str, nn.Parameter]
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a training, by the name that their moments have in its state.

    Raises:
        ConfigError: there is no such optimizer.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise ConfigError(
            "optimizer", f"there is no {settings.optimizer!r}", f"one of {', '.join(OPTIMIZERS)}"
        )
    hidden = {
        name: parameter
        for name, parameter in trained.items()
        if settings.optimizer == "muon" and parameter.ndim > 1 and not name.startswith(OUTER)
    }
    other = [parameter for name, parameter in trained.items() if name not in hidden]
    decay = settings.weight_decay
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            other, settings.lr, betas=(0.9, 0.99), weight_decay=decay, fused=True
        )
    }
    if hidden:
        optimizers["muon"] = Muon(hidden.values(), settings.lr, weight_decay=decay)
    return optimizers


def _trainable(unet: UNet3DConditionModel, images: bool) -> dict[str, nn.Parameter]:
    """Name to parameter of what learns; image training has nothing for temporal layers."""
    groups = partition_unet3d(unet)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(not images or groups[name] not in TEMPORAL)
    return {name: p for name, p in unet.named_parameters() if p.requires_grad}
