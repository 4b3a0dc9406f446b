"""Which parameter belongs to which group: decided by the types of the modules that own it.

Substrings of names do not work on diffusers' UNet3D: ``attn2.to_k`` also occurs in temporal blocks,
and ``temp_`` misses ``transformer_in``, which is temporal. The owner's type cannot be mistaken.
Paper section 3.2: theta = theta_t (temporal transformers and convolutions) + theta_s, with
theta_s^{k,v} the key and value projections of spatial cross-attention.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn

from motion_ray.backbones.inflated import FrameAttention
from motion_ray.types import ParameterGroup


def partition_unet3d(unet: nn.Module) -> dict[str, ParameterGroup]:
    """The group of every parameter of a diffusers ``UNet3DConditionModel``, by parameter name."""
    return {name: _group(list(_owners(unet, name))) for name, _ in unet.named_parameters()}


def _owners(root: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """(attribute name, module) from below the root down to the module that holds the parameter."""
    module = root
    for part in name.split(".")[:-1]:
        module = module.get_submodule(part)
        yield part, module


def _group(owners: list[tuple[str, nn.Module]]) -> ParameterGroup:
    modules = [module for _, module in owners]
    if _any(modules, TransformerTemporalModel) or _any(modules, FrameAttention):
        return ParameterGroup.TEMPORAL_ATTENTION
    if _any(modules, TemporalConvLayer):
        return ParameterGroup.TEMPORAL_CONV
    if _any(modules, Transformer2DModel):
        return _spatial_attention(owners)
    if _any(modules, TimestepEmbedding):
        return ParameterGroup.OTHER
    return ParameterGroup.SPATIAL_CONV


def _spatial_attention(owners: list[tuple[str, nn.Module]]) -> ParameterGroup:
    modules = [module for _, module in owners]
    for parent, module in itertools.pairwise(modules):
        if isinstance(module, Attention) and isinstance(parent, BasicTransformerBlock):
            below = modules[modules.index(module) + 1 :]
            projection = below[0] if below else module
            if module is parent.attn1:
                return _self_attention(module, projection)
            assert module is parent.attn2
            return _cross_attention(module, projection)
    return ParameterGroup.SPATIAL_REST


def _self_attention(attention: Attention, projection: nn.Module) -> ParameterGroup:
    if projection is attention.to_q:
        return ParameterGroup.SPATIAL_SELF_QUERY
    return ParameterGroup.SPATIAL_SELF_REST


def _cross_attention(attention: Attention, projection: nn.Module) -> ParameterGroup:
    if projection is attention.to_k or projection is attention.to_v:
        return ParameterGroup.SPATIAL_CROSS_KV
    if projection is attention.to_q:
        return ParameterGroup.SPATIAL_CROSS_QUERY
    return ParameterGroup.SPATIAL_CROSS_REST


def _any(modules: list[nn.Module], kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in modules)
