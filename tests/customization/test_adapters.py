"""Factors beside the weights while they train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import LowRankConfig
from motion_ray.customization.adapters import add_low_rank
from motion_ray.precision import compute_context
from motion_ray.types import TEMPORAL, ParameterGroup


def trained_once(base: Path, precision: str, *, copies: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """A prediction, and the gradient of every factor; ``copies`` as peft has it by itself."""
    backbone = load_backbone(str(base), "cpu")
    groups = [*sorted(TEMPORAL), ParameterGroup.SPATIAL_CROSS_KV]
    factors = add_low_rank(backbone, groups, LowRankConfig(rank=2), seed=0)
    layers = [each for each in backbone.denoiser.modules() if isinstance(each, LoraLayer)]
    assert layers and not any(layer.cast_input_dtype_enabled for layer in layers)
    for layer in layers if copies else ():
        layer.cast_input_dtype_enabled = True
    generator = torch.Generator().manual_seed(0)
    for factor in factors.values():  # peft starts one side at zero, which has no gradient beside it
        factor.data.copy_(torch.randn(factor.shape, generator=generator) * 0.1)
    latents = torch.randn(2, backbone.latent_channels, 4, 4, 4, generator=generator)
    text = backbone.encode_text(["a person doing the pll"] * 2)
    with compute_context(precision, backbone.device):
        prediction = backbone.predict(latents, torch.tensor([10, 900]), text)
    prediction.float().square().mean().backward()
    return prediction.detach(), {n: f.grad for n, f in factors.items() if f.grad is not None}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_copies_of_inputs_predictions_and_gradients_are_the_same(tiny_bases, precision):
    """Gradients up to the rounding of eight bits."""
    base = tiny_bases["v_prediction"]
    ours, mine = trained_once(base, precision, copies=False)
    theirs, others = trained_once(base, precision, copies=True)
    assert torch.equal(ours, theirs)
    assert len(mine) > 20 and mine.keys() == others.keys()
    for name, gradient in mine.items():
        theirs = others[name]
        assert theirs.abs().max() > 0, name
        apart = (gradient - theirs).norm() / theirs.norm()
        assert apart < (0.05 if precision == "bf16" else 1e-6), name
