"""What customization and generation need from a text-to-video model, whatever its class.

Shapes: b batch, f frames, c latent channels, h/w pixels or latent cells, n tokens, d text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from motion_ray.types import LatentPosterior, ParameterGroup


class Backbone(Protocol):
    """A text-to-video latent diffusion model.

    Attributes:
        denoiser: the network whose parameters are customized.
        device: where it computes.
        scheduler_config: contents of ``scheduler/scheduler_config.json``: prediction type, betas,
            spacing.
        fingerprint: sha256 over weights and configs; a delta binds to it.
        vae_fingerprint: sha256 over the VAE alone; the latent cache binds to it.
        encoding: in what arithmetic VAE and text encoder compute, e.g. ``bfloat16``; caches bind to
            it, too.
        spatial_factor: pixels per latent cell along each side.
        latent_channels: c.
    """

    denoiser: nn.Module
    device: torch.device
    scheduler_config: dict[str, Any]
    fingerprint: str
    vae_fingerprint: str
    encoding: str
    spatial_factor: int
    latent_channels: int

    def encode_video(self, frames: Tensor) -> LatentPosterior:
        """uint8 ``[f, 3, h, w]`` to a posterior of ``[c, f, h/8, w/8]``."""
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """``[b, c, f, h, w]`` scaled latents to uint8 ``[b, f, 3, H, W]``."""
        ...

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Padded token ids, int64 ``[b, n]``."""
        ...

    def set_token_embedding(self, token: str, row: Tensor) -> Tensor:
        """Put ``row [d]`` in place of the embedding of ``token``; returns a copy of the old row."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Text states ``[b, n, d]``, float32."""
        ...

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The denoiser's raw output: ``[b, c, f, h, w]`` from noisy latents, ``[b]`` and ``[b, n,
        d]``.
        """
        ...

    def group_of(self, name: str) -> ParameterGroup:
        """The group of a denoiser parameter by its full name."""
        ...
