"""What the denoiser is trained on: settings, encoded clips, and the batch of each step.

A batch is a pure function of the number of its step, so that a run that was killed repeats nothing
and misses nothing, and so that all processes draw the same one.

Shapes: b batch, c latent channels, f frames, h/w latent cells, n tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from transformers import CLIPTextModel

from motion_ray.diffusion.density import CoarseNoise, TimestepDensity, Uniform
from motion_ray.pretraining.parts import LongArray
from motion_ray.pretraining.workspace import Workspace


@dataclass(frozen=True)
class DenoiserSettings:
    """Settings of image or video training.

    Attributes:
        steps: updates.
        batch: examples in an update: frames in image training, clips in video training.
        frames_batch: single frames in the updates of video training that are on frames.
        frames_every: updates of video training, the last of which is on frames; 0: none is.
        optimizer: muon (AdamW for what is no hidden matrix) or adamw.
        lr: highest learning rate; warms up, then falls in a cosine.
        lr_floor: share of it that is left at the end.
        warmup: steps.
        weight_decay: of the optimizer.
        caption_dropout: share of the examples whose caption is empty, for guidance.
        coarse: alpha of the density of noise levels in clips (section 3.2); 0: all alike.
        average: share of the newest weights in their running average, which is what is kept.
        width: of the outer level, if it starts from nothing.
        head: width of an attention head, if it starts from nothing.
        precision: auto, fp32 or bf16.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints.
        sheet_every: steps between sample sheets, and scores if there are evaluators.
        sheet_videos: videos on a sheet.
        seed: of everything.
    """

    steps: int
    batch: int
    frames_batch: int = 64
    frames_every: int = 5
    optimizer: str = "muon"
    lr: float = 1e-3
    lr_floor: float = 0.02
    warmup: int = 100
    weight_decay: float = 0.01
    caption_dropout: float = 0.1
    coarse: float = 0.0
    average: float = 0.003
    width: int = 80
    head: int = 40
    precision: str = "auto"
    log_every: int = 50
    checkpoint_every: int = 250
    sheet_every: int = 500
    sheet_videos: int = 12
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset(
        {"seed", "lr_floor", "weight_decay", "caption_dropout", "coarse", "frames_every"}
    )


@dataclass(frozen=True)
class Data:
    """What a denoiser is trained on.

    Attributes:
        latents: float16 rows ``[c, f, h, w]``, one a clip.
        tokens: ids of each clip's captions, ``[clips, captions, n]``.
        empty: ids of the empty caption, ``[n]``.
        encoder: frozen, on the device of the training.
    """

    latents: LongArray
    tokens: Tensor
    empty: Tensor
    encoder: CLIPTextModel


@dataclass(frozen=True)
class NoisyBatch:
    """The examples of an update.

    Attributes:
        latents: x_0, ``[b, c, f, h, w]``.
        noise: of the same shape.
        timesteps: ``[b]``.
        ids: of the captions, ``[b, n]``.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    ids: Tensor

    def shared(self, workspace: Workspace) -> NoisyBatch:
        """This process's examples, on its device."""
        mine = (
            workspace.replicas.share(each).to(workspace.device)
            for each in (self.latents, self.noise, self.timesteps, self.ids)
        )
        return NoisyBatch(*mine)


def on_frames(settings: DenoiserSettings, images: bool, step: int) -> bool:
    """Whether the examples of a step are single frames; ``images``: they always are."""
    every = settings.frames_every
    return images or bool(every and step % every == every - 1)


def draw_batch(
    settings: DenoiserSettings, data: Data, images: bool, timesteps: int, step: int
) -> NoisyBatch:
    """The whole batch of a step.

    Args:
        settings: of the training.
        data: clips and captions.
        images: image training: single frames, all noise levels alike.
        timesteps: number of noise levels.
        step: from 0.
    """
    generator = torch.Generator().manual_seed((settings.seed << 32) + step)
    frames = on_frames(settings, images, step)
    count = settings.frames_batch if frames and not images else settings.batch
    clips = torch.randint(len(data.latents), (count,), generator=generator)
    told = torch.randint(data.tokens.shape[1], (count,), generator=generator)
    latents = data.latents.take(clips).float()
    if frames:
        chosen = torch.randint(latents.shape[2], (count,), generator=generator)
        latents = latents[torch.arange(count), :, chosen].unsqueeze(2)
    untold = torch.rand(count, 1, generator=generator) < settings.caption_dropout
    density: TimestepDensity = Uniform()
    if settings.coarse and not images:
        density = CoarseNoise(settings.coarse)
    return NoisyBatch(
        latents=latents,
        noise=torch.randn(latents.shape, generator=generator),
        timesteps=density.sample(count, timesteps, generator),
        ids=torch.where(untold, data.empty, data.tokens[clips, told]),
    )
