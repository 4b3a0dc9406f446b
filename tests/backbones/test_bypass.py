"""Leaving the temporal layers out: what runs, what gets gradients, and that they come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motion_ray.backbones.bypass import without_temporal_layers
from motion_ray.backbones.embedded import new_denoiser
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.types import TEMPORAL


def inputs(frames: int, channels: int = 4, width: int = 16) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, channels, frames, 4, 4, generator=generator)
    text = torch.randn(2, 5, width, generator=generator)
    return latents, torch.tensor([10, 900]), text


def test_frames_do_not_see_each_other(tiny_bases: dict[str, Path]) -> None:
    backbone = load_backbone(str(tiny_bases["v_prediction"]), "cpu")
    latents, timesteps, text = inputs(frames=3)
    with torch.no_grad(), without_temporal_layers(backbone.denoiser):
        together = backbone.predict(latents, timesteps, text)
        apart = [backbone.predict(latents[:, :, [f]], timesteps, text) for f in range(3)]
    torch.testing.assert_close(together, torch.cat(apart, dim=2))
    with torch.no_grad():
        seen = backbone.predict(latents, timesteps, text)
    assert not torch.allclose(seen, together, atol=1e-3)


def test_temporal_layers_get_no_gradient_and_everything_else_does(
    tiny_bases: dict[str, Path],
) -> None:
    backbone = load_backbone(str(tiny_bases["v_prediction"]), "cpu")
    backbone.denoiser.requires_grad_(True)
    with without_temporal_layers(backbone.denoiser):
        backbone.predict(*inputs(frames=1)).square().mean().backward()
    named = dict(backbone.denoiser.named_parameters())
    temporal = {name for name in named if backbone.group_of(name) in TEMPORAL}
    assert {name for name, p in named.items() if p.grad is None} == temporal and temporal


def test_the_layers_come_back_also_after_an_error() -> None:
    unet = new_denoiser(width=16, head=8, channels=4, text_width=16)
    before = [(name, id(p)) for name, p in unet.named_parameters()]
    with pytest.raises(KeyError), without_temporal_layers(unet):
        assert len(list(unet.parameters())) < len(before)
        raise KeyError
    assert [(name, id(p)) for name, p in unet.named_parameters()] == before


def test_a_new_denoiser_begins_as_an_image_model() -> None:
    unet = new_denoiser(width=16, head=8, channels=4, text_width=16).eval()
    latents, timesteps, text = inputs(frames=3)
    with torch.no_grad():
        video = unet(latents, timesteps, text).sample
        with without_temporal_layers(unet):
            torch.testing.assert_close(unet(latents, timesteps, text).sample, video)
