"""A motion inside a folder for diffusers: the same video without anything of ours."""

from __future__ import annotations

import os

import pytest
import torch
from diffusers import TextToVideoSDPipeline
from safetensors.torch import load_file

from motion_ray.backbones.export import export_pipeline
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import BaseModelError
from tests.deltas import changed, header


@pytest.fixture
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


def test_diffusers_computes_with_it_what_we_do(backbone, tiny_bases, tmp_path):
    delta = MotionDelta(header(backbone), changed(backbone))
    text = backbone.encode_text(["a robot doing the pll"])
    shape = (1, backbone.latent_channels, 4, 8, 8)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = backbone.denoiser(noise, 500, text).sample
        with delta.applied(backbone):
            ours = backbone.denoiser(noise, 500, text).sample
            export_pipeline(backbone, str(tiny_bases["epsilon"]), tmp_path / "new", torch.float32)
        pipeline = TextToVideoSDPipeline.from_pretrained(str(tmp_path / "new"))
        theirs = pipeline.unet.eval()(noise, 500, text).sample
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    assert (ours - plain).abs().max() > 1e-2
    load_backbone(str(tmp_path / "new"), "cpu")  # a base like any other


def test_a_trained_token_comes_along(backbone, tiny_bases, tmp_path):
    row = torch.full((backbone.text_width,), 0.5)
    values = {**changed(backbone), "token_embedding": row}
    delta = MotionDelta(header(backbone), values)
    with delta.applied(backbone):
        export_pipeline(backbone, str(tiny_bases["epsilon"]), tmp_path / "new")
    exported = load_backbone(str(tmp_path / "new"), "cpu")
    weight = exported.text_encoder.get_input_embeddings().weight
    assert torch.equal(weight[exported.single_piece("pll")], row)


def test_half_precision_by_default_and_values_that_do_not_fit(backbone, tiny_bases, tmp_path):
    base = str(tiny_bases["epsilon"])
    export_pipeline(backbone, base, tmp_path / "half")
    written = load_file(tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in written.values()} == {torch.float16}
    with torch.no_grad():
        next(backbone.denoiser.parameters()).fill_(1e6)
    with pytest.raises(BaseModelError, match=r"does not fit into float16.*fp32"):
        export_pipeline(backbone, base, tmp_path / "new")
    assert os.listdir(tmp_path) == ["half"]


def test_an_inflated_base_is_refused(tiny_bases, tmp_path):
    base = f"inflated:{tiny_bases['epsilon']}"
    with pytest.raises(BaseModelError, match="diffusers has no class for an inflated model"):
        export_pipeline(load_backbone(base, "cpu"), base, tmp_path / "new")
    assert not os.listdir(tmp_path)
