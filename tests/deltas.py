"""Deltas for a real, very small base model."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.customization.delta import DeltaHeader
from motion_ray.types import ParameterGroup


def header(backbone: UNet3DBackbone, **changes: object) -> DeltaHeader:
    values: dict[str, object] = {
        "base_fingerprint": backbone.fingerprint,
        "base": "tiny",
        "recipe": "ours",
        "name": "swinging-arms",
        "token": "pll",
        "template": "a person doing the <token>",
        "step": 300,
        "config": {"seed": 0, "groups": ["temporal_attention"]},
        "metrics": {"appearance": 0.27},
        "sources": {"0.mp4": "ab" * 32},
        "versions": {"torch": "2.14.1"},
    }
    return DeltaHeader.model_validate(values | changes)


def changed(
    backbone: UNet3DBackbone, seed: int = 1, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """New values for the temporal attention, as a trainer would hand them over."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(parameter.shape, generator=generator).to(dtype)
        for name, parameter in backbone.denoiser.named_parameters()
        if backbone.group_of(name) is ParameterGroup.TEMPORAL_ATTENTION
    }


def low_rank(backbone: UNet3DBackbone, seed: int = 1, rank: int = 2) -> dict[str, Tensor]:
    """Factors for the first convolution and the temporal attention's matrices."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for name, parameter in backbone.denoiser.named_parameters():
        temporal = backbone.group_of(name) is ParameterGroup.TEMPORAL_ATTENTION
        if parameter.dim() > 1 and (temporal or name == "conv_in.weight"):
            rows, columns = len(parameter), parameter[0].numel()
            found[f"{name}.lora_a"] = torch.randn(rank, columns, generator=generator)
            found[f"{name}.lora_b"] = torch.randn(rows, rank, generator=generator)
    return found
