"""Stage `vae`: the autoencoder between pixels and the latents in which everything else happens.

Four of five updates are on small crops, picked for what they show (most of a frame is background),
the fifth on whole frames. The decoder sees latents with a little noise, so that it forgives the
small errors a denoiser makes. At the end latents get mean 0 and standard deviation 1 on this world:
the normalisation is folded into the convolutions around them. Shapes: b batch, c latent channels,
s picture or crop side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from motion_ray.backbones.embedded import FACTOR
from motion_ray.data.puppets.render import SIZE
from motion_ray.errors import ConfigError
from motion_ray.precision import compute_context
from motion_ray.pretraining.loop import load_module_state, module_state, update
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.parts import LongArray
from motion_ray.pretraining.rates import running_average, warm_cosine
from motion_ray.pretraining.workspace import Workspace

VAE = "vae"
WHOLE_EVERY = 5  # updates; the last of them is on whole frames
WHOLE_SHARE = 4  # as many times fewer whole frames than crops
PICKED_FROM = 2  # crops are drawn for each that is used
SQUARED, EDGES, PRIOR = 4.0, 0.5, 2e-4  # weights beside the absolute error
LOGVAR_RANGE = (-20.0, 10.0)


@dataclass(frozen=True)
class VaeSettings:
    """Settings of the autoencoder.

    Attributes:
        steps: updates.
        batch: crops in an update; a fourth as many whole frames.
        crop: side of a crop in pixels, of whole latent cells.
        lr: highest learning rate of AdamW; warms up, then falls in a cosine.
        lr_floor: share of it that is left at the end.
        warmup: steps.
        weight_decay: AdamW's.
        forgiven: largest noise on the latents that are decoded, in their standard deviations.
        average: share of the newest weights in their running average, which is what is kept.
        width: of the outermost layers, if it starts from nothing.
        channels: of the latents, if it starts from nothing.
        calibration: clips that mean and standard deviation of the latents are taken from.
        test_clips: unseen clips for the score at the end.
        precision: auto, fp32 or bf16.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints.
        seed: of everything.

    Raises:
        ConfigError: there are no such crops of a frame.
    """

    steps: int = 20000
    batch: int = 48
    crop: int = 32
    lr: float = 6e-4
    lr_floor: float = 0.02
    warmup: int = 50
    weight_decay: float = 1e-4
    forgiven: float = 0.06
    average: float = 0.01
    width: int = 32
    channels: int = 8
    calibration: int = 1000
    test_clips: int = 64
    precision: str = "auto"
    log_every: int = 50
    checkpoint_every: int = 500
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset(
        {"seed", "lr_floor", "weight_decay", "forgiven"}
    )

    def __post_init__(self) -> None:
        # Here, and not in the training: by then the work folder would belong to these settings.
        if self.crop % FACTOR or not 0 < self.crop <= SIZE:
            rule = f"is a multiple of {FACTOR} and at most {SIZE}, got {self.crop}"
            raise ConfigError("crop", rule, "for example crop=32")


@dataclass(frozen=True)
class PixelBatch:
    """What an update sees.

    Attributes:
        pixels: in -1..1, ``[b, 3, s, s]``.
        posterior: standard normal noise that samples the posterior, ``[b, c, s/8, s/8]``.
        blur: noise on the latents, of its final strength in their standard deviations.
    """

    pixels: Tensor
    posterior: Tensor
    blur: Tensor


class Autoencoding(nn.Module):
    """The forward pass of training: encode, sample, disturb, decode.

    Args:
        vae: what is trained.
        replicas: that share a batch; the latents' spread is that of the whole of it.
    """

    def __init__(self, vae: AutoencoderKL, replicas: Replicas) -> None:
        super().__init__()
        self.vae, self.replicas = vae, replicas

    def forward(self, pixels: Tensor, posterior: Tensor, blur: Tensor) -> tuple[Tensor, ...]:
        """:class:`PixelBatch` to decoded pixels, posterior mean and log-variance, float32."""
        vae = self.vae
        mean, logvar = vae.quant_conv(vae.encoder(pixels)).float().chunk(2, 1)  # pyright: ignore
        logvar = logvar.clamp(*LOGVAR_RANGE)
        latents = mean + (logvar / 2).exp() * posterior + self._spread(mean.detach()) * blur
        decoded = vae.decoder(vae.post_quant_conv(latents)).float()  # pyright: ignore
        return decoded, mean, logvar

    def _spread(self, mean: Tensor) -> Tensor:
        """Standard deviation of each channel, ``[1, c, 1, 1]``."""
        moments = torch.stack([mean.mean((0, 2, 3)), mean.square().mean((0, 2, 3))])
        first, second = self.replicas.mean(moments)
        return (second - first.square()).clamp(min=0).sqrt()[None, :, None, None]


def autoencoding_loss(decoded: Tensor, pixels: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """Absolute and squared error, the same of edges, and the distance to a standard normal."""
    error = decoded - pixels
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    edges = across.abs().mean() + down.abs().mean()
    prior = (mean.square() + logvar.exp() - 1 - logvar).mean() / 2
    return error.abs().mean() + SQUARED * error.square().mean() + EDGES * edges + PRIOR * prior


class VaeTraining:
    """Trains an autoencoder; see :class:`~motion_ray.pretraining.loop.Trainable`."""

    def __init__(
        self, settings: VaeSettings, vae: AutoencoderKL, frames: LongArray, workspace: Workspace
    ) -> None:
        self.settings, self.frames, self.workspace = settings, frames, workspace
        # On a CPU its convolutions are quicker with channels last.
        vae.to(workspace.device, memory_format=torch.channels_last)  # pyright: ignore
        self.vae = vae.train()
        self.channels = int(vae.config["latent_channels"])
        self.average = running_average(vae, settings.average)
        self.training = workspace.replicas.parallel(Autoencoding(vae, workspace.replicas))
        # Not the fused one: it takes moments to lie in memory as the weights do, and those of a
        # checkpoint do not have their channels last.
        self.optimizer = torch.optim.AdamW(
            vae.parameters(), settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.errors = torch.zeros(2, dtype=torch.float64)  # squared, of whole frames; their number

    def step(self, step: int) -> float:
        """One update; returns the loss."""
        s, replicas, device = self.settings, self.workspace.replicas, self.workspace.device
        factor = warm_cosine(step, s.steps, s.warmup, s.lr_floor)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * factor
        batch = self._batch(step)
        pixels, posterior, blur = (
            replicas.share(each).to(device, memory_format=torch.channels_last)
            for each in (batch.pixels, batch.posterior, batch.blur)
        )
        with compute_context(s.precision, device):
            decoded, mean, logvar = self.training(pixels, posterior, blur)
        loss = autoencoding_loss(decoded, pixels, mean, logvar)
        update(self.vae, self.optimizer, loss)
        self.average.update_parameters(self.vae)
        error = (decoded.detach() - pixels).square().mean()
        value, squared = replicas.mean(torch.stack([loss.detach(), error])).tolist()
        if _is_whole(step):
            self.errors += torch.tensor([squared, 1.0])
        return value

    def _batch(self, step: int) -> PixelBatch:
        """The whole batch of a step, alike in all processes."""
        s = self.settings
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        if _is_whole(step):
            pixels = self._frames(s.batch // WHOLE_SHARE, generator)
        else:
            pixels = self._crops(self._frames(PICKED_FROM * s.batch, generator), generator)
        count, _, height, width = pixels.shape
        shape = (count, self.channels, height // FACTOR, width // FACTOR)
        strength = s.forgiven * torch.rand(count, 1, 1, 1, generator=generator)
        posterior = torch.randn(shape, generator=generator)
        return PixelBatch(pixels, posterior, strength * torch.randn(shape, generator=generator))

    def _frames(self, count: int, generator: torch.Generator) -> Tensor:
        """Random frames in -1..1."""
        clips = torch.randint(len(self.frames), (count,), generator=generator)
        inner = torch.randint(self.frames.row_shape[0], (count,), generator=generator)
        return self.frames.take(clips, inner).float() / 127.5 - 1

    def _crops(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The same window of all frames, of those frames that show most in it."""
        crop, batch = self.settings.crop, self.settings.batch
        places = (frames.shape[-1] - crop) // FACTOR + 1
        top, left = (FACTOR * torch.randint(places, (2,), generator=generator)).tolist()
        crops = frames[..., top : top + crop, left : left + crop]
        shown = (crops[..., 1:] - crops[..., :-1]).abs().mean((1, 2, 3))
        return crops[shown.topk(batch).indices]

    def report(self) -> dict[str, Any]:
        """Peak signal-to-noise ratio of whole frames since the last report, in dB."""
        squared, count = self.errors.tolist()
        self.errors.zero_()
        return {"psnr": psnr(squared / count)} if count else {}

    def state(self) -> dict[str, Tensor]:
        """Weights, their average and moments."""
        modules = {"vae": self.vae, "average": self.average}
        return {**module_state(modules, self.optimizer), "errors": self.errors}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Weights, their average and moments."""
        load_module_state({"vae": self.vae, "average": self.average}, self.optimizer, state)
        self.errors.copy_(state["errors"])


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in -1..1."""
    return 10 * math.log10(4 / max(squared_error, 1e-12))


def _is_whole(step: int) -> bool:
    return step % WHOLE_EVERY == WHOLE_EVERY - 1
