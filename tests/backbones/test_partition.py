"""The parameter partition: total, disjoint, and with the paper's counts at ZeroScope's shape."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import UNet3DConditionModel

from motion_ray.backbones.partition import partition_unet3d
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.parameters import select_parameters
from motion_ray.errors import ConfigError
from motion_ray.recipes.paper import PAPER_GROUPS
from motion_ray.types import SPATIAL, TEMPORAL, ParameterGroup


def zeroscope_unet() -> UNet3DConditionModel:
    """ZeroScope's UNet on the meta device: shapes without memory."""
    with torch.device("meta"):
        return UNet3DConditionModel(
            sample_size=32,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
            up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=1024,
            attention_head_dim=64,
        )


@pytest.fixture(scope="module")
def zeroscope() -> UNet3DConditionModel:
    return zeroscope_unet()


def count(unet, groups) -> tuple[float, int]:
    """(millions of parameters, tensors) in some groups."""
    partition = partition_unet3d(unet)
    members = [p for name, p in unet.named_parameters() if partition[name] in groups]
    return round(sum(p.numel() for p in members) / 1e6, 1), len(members)


def test_counts_at_zeroscopes_shape(zeroscope):
    assert count(zeroscope, frozenset(ParameterGroup)) == (1411.2, 1480)
    assert count(zeroscope, TEMPORAL) == (545.3, 794)
    assert count(zeroscope, {ParameterGroup.SPATIAL_CROSS_KV}) == (25.6, 32)
    assert count(zeroscope, PAPER_GROUPS) == (570.9, 826)


def test_every_parameter_has_one_group_and_every_group_is_used(zeroscope):
    partition = partition_unet3d(zeroscope)
    assert set(partition) == {name for name, _ in zeroscope.named_parameters()}
    assert set(Counter(partition.values())) == set(ParameterGroup)
    assert TEMPORAL | SPATIAL | {ParameterGroup.OTHER} == set(ParameterGroup)
    assert not TEMPORAL & SPATIAL


def test_names_that_mislead_substrings(zeroscope):
    partition = partition_unet3d(zeroscope)
    temporal = "down_blocks.0.temp_attentions.0.transformer_blocks.0.attn2.to_k.weight"
    spatial = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert partition[temporal] is ParameterGroup.TEMPORAL_ATTENTION
    assert partition[spatial] is ParameterGroup.SPATIAL_CROSS_KV
    assert partition["transformer_in.proj_in.weight"] is ParameterGroup.TEMPORAL_ATTENTION
    own = spatial.replace("attn2", "attn1")
    assert partition[spatial.replace("to_k", "to_q")] is ParameterGroup.SPATIAL_CROSS_QUERY
    assert partition[spatial.replace("to_k", "to_out.0")] is ParameterGroup.SPATIAL_CROSS_REST
    assert partition[own.replace("to_k", "to_q")] is ParameterGroup.SPATIAL_SELF_QUERY
    assert partition[own] is ParameterGroup.SPATIAL_SELF_REST


def test_selection_trains_exactly_its_groups(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    selected = select_parameters(backbone, PAPER_GROUPS)
    for name, parameter in backbone.denoiser.named_parameters():
        assert parameter.requires_grad == (backbone.group_of(name) in PAPER_GROUPS)
        assert (name in selected) == parameter.requires_grad
    assert not any(p.requires_grad for p in backbone.text_encoder.parameters())


def test_an_empty_group_is_an_error(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    backbone._groups = dict.fromkeys(backbone._groups, ParameterGroup.TEMPORAL_CONV)
    with pytest.raises(ConfigError, match="spatial_cross_kv"):
        select_parameters(backbone, [ParameterGroup.TEMPORAL_CONV, ParameterGroup.SPATIAL_CROSS_KV])
