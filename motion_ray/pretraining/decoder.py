"""Stage `decoder`: the autoencoder's decoder, trained further on the latents that it will be given.

The encoder, and with it every latent, stays as it is, so this can be done at any time after
`latents`. Whole frames count, and what moves in them counts more: limbs are few pixels, and the
first thing to blur. Shapes: b batch, c latent channels, f frames, s picture side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from motion_ray.backbones.embedded import load_vae
from motion_ray.precision import compute_context
from motion_ray.pretraining.course import train_stage
from motion_ray.pretraining.latents import LATENTS, open_latents
from motion_ray.pretraining.loop import load_module_state, module_state, update
from motion_ray.pretraining.parts import LongArray
from motion_ray.pretraining.rates import running_average, warm_cosine
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.vae import EDGES, SQUARED, VAE, psnr
from motion_ray.pretraining.vae_stage import unseen_psnr
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD, open_world

DECODER = "decoder"
MOVED = 0.12  # difference of a channel from the clip's still picture, of pixels in -1..1


@dataclass(frozen=True)
class DecoderSettings:
    """Settings of the decoder's further training.

    Attributes:
        steps: updates.
        batch: frames in an update, each of another clip.
        lr: highest learning rate of AdamW; warms up, then falls in a cosine.
        lr_floor: share of it that is left at the end.
        warmup: steps.
        weight_decay: AdamW's.
        forgiven: largest noise on the latents, whose standard deviation is 1.
        moving: weight of pixels that move, beside 1 for those that do not.
        average: share of the newest weights in their running average, which is what is kept.
        test_clips: unseen clips for the score at the end.
        precision: auto, fp32 or bf16.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints.
        seed: of everything.
    """

    steps: int = 2000
    batch: int = 16
    lr: float = 5e-4
    lr_floor: float = 0.02
    warmup: int = 50
    weight_decay: float = 1e-4
    forgiven: float = 0.1
    moving: float = 3.0
    average: float = 0.02
    test_clips: int = 64
    precision: str = "auto"
    log_every: int = 50
    checkpoint_every: int = 250
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset(
        {"seed", "lr_floor", "weight_decay", "forgiven"}
    )


class Decoding(nn.Module):
    """What is trained of an autoencoder, from latents to pixels."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.first, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """``[b, c, s/8, s/8]`` to pixels ``[b, 3, s, s]``, float32."""
        return self.decoder(self.first(latents)).float()  # pyright: ignore[reportOptionalCall]


def decoding_loss(decoded: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
    """Weighted absolute and squared error, and the same of edges.

    Args:
        decoded: ``[b, 3, s, s]``.
        pixels: what it should be.
        weight: of each pixel, ``[b, 1, s, s]``.
    """
    error = decoded - pixels
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    edges = (weight[..., 1:] * across.abs()).mean() + (weight[..., 1:, :] * down.abs()).mean()
    return (weight * (error.abs() + SQUARED * error.square())).mean() + EDGES * edges


def moving_weight(clips: Tensor, pixels: Tensor, weight: float) -> Tensor:
    """Weight of each pixel of a frame: more where it differs from the clip's still picture.

    Args:
        clips: in -1..1, ``[b, f, 3, s, s]``; their still picture is the median over frames.
        pixels: one frame of each, ``[b, 3, s, s]``.
        weight: of what moves.
    """
    apart = (pixels - clips.median(1).values).abs().amax(1, keepdim=True)
    return torch.where(apart > MOVED, weight, 1.0)


class DecoderTraining:
    """Trains a decoder; see :class:`~motion_ray.pretraining.loop.Trainable`."""

    def __init__(
        self,
        settings: DecoderSettings,
        vae: AutoencoderKL,
        frames: LongArray,
        latents: LongArray,
        workspace: Workspace,
    ) -> None:
        self.settings, self.workspace = settings, workspace
        self.frames, self.latents = frames, latents
        self.decoding = Decoding(vae).train()
        self.decoding.to(workspace.device, memory_format=torch.channels_last)  # pyright: ignore
        self.average = running_average(self.decoding, settings.average)
        self.training = workspace.replicas.parallel(self.decoding)
        self.optimizer = torch.optim.AdamW(
            self.decoding.parameters(),
            settings.lr,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
        self.errors = torch.zeros(2, dtype=torch.float64)  # squared; their number

    def step(self, step: int) -> float:
        """One update; returns the loss."""
        s, replicas, device = self.settings, self.workspace.replicas, self.workspace.device
        factor = warm_cosine(step, s.steps, s.warmup, s.lr_floor)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * factor
        latents, pixels, weight = (
            replicas.share(each).to(device, memory_format=torch.channels_last)
            for each in self._batch(step)
        )
        with compute_context(s.precision, device):
            decoded = self.training(latents)
        loss = decoding_loss(decoded, pixels, weight)
        update(self.decoding, self.optimizer, loss)
        self.average.update_parameters(self.decoding)
        error = (decoded.detach() - pixels).square().mean()
        value, squared = replicas.mean(torch.stack([loss.detach(), error])).tolist()
        self.errors += torch.tensor([squared, 1.0])
        return value

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents with noise, pixels and weights of a step, alike in all processes."""
        s = self.settings
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        rows = torch.randint(len(self.frames), (s.batch,), generator=generator)
        inner = torch.randint(self.frames.row_shape[0], (s.batch,), generator=generator)
        each = torch.arange(s.batch)
        clips = self.frames.take(rows).float() / 127.5 - 1
        latents = self.latents.take(rows).float()[each, :, inner]
        strength = s.forgiven * torch.rand(s.batch, 1, 1, 1, generator=generator)
        latents = latents + strength * torch.randn(latents.shape, generator=generator)
        pixels = clips[each, inner]
        return latents, pixels, moving_weight(clips, pixels, s.moving)

    def report(self) -> dict[str, Any]:
        """Peak signal-to-noise ratio since the last report, in dB."""
        squared, count = self.errors.tolist()
        self.errors.zero_()
        return {"psnr": psnr(squared / count)}

    def state(self) -> dict[str, Tensor]:
        """Weights, their average and moments."""
        modules = {"decoding": self.decoding, "average": self.average}
        return {**module_state(modules, self.optimizer), "errors": self.errors}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Weights, their average and moments."""
        modules = {"decoding": self.decoding, "average": self.average}
        load_module_state(modules, self.optimizer, state)
        self.errors.copy_(state["errors"])


def train_decoder(settings: DecoderSettings, workspace: Workspace) -> StageWork:
    """Train on the world's latents, and write the autoencoder with the new decoder."""
    workspace.replicas.check_share("batch", settings.batch)
    vae = load_vae(workspace.finished_model(VAE))
    frames, latents = open_world(workspace).frames, open_latents(workspace)
    training = DecoderTraining(settings, vae, frames, latents, workspace)
    yield from train_stage(training, DECODER, settings, workspace)
    if not workspace.replicas.first:
        return {}
    # The trained modules are the autoencoder's own: give them the averaged weights.
    training.decoding.load_state_dict(training.average.module.state_dict())
    vae.to(workspace.device).eval()  # pyright: ignore[reportArgumentType]
    score = unseen_psnr(vae, settings.test_clips, settings.precision, settings.seed)

    def write(folder: Path) -> None:
        vae.cpu().save_pretrained(str(folder / "vae"), safe_serialization=True)

    workspace.write_model(DECODER, write)
    return {"psnr": score}


STAGE = Stage(
    name=DECODER,
    needs=(WORLD, VAE, LATENTS),
    full=DecoderSettings(),
    tiny=DecoderSettings(
        steps=6,
        batch=4,
        warmup=2,
        test_clips=2,
        precision="fp32",
        log_every=2,
        checkpoint_every=2,
    ),
    work=train_decoder,
)
