"""A UNet3D as an image model: its temporal layers left out while a context lives.

A video model is pretrained on single frames first, at a tenth of a clip's cost. The temporal layers
have nothing to learn there and are not run, so that they get no gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

TEMPORAL_LAYERS = (TemporalConvLayer, TransformerTemporalModel)


class _PassedConv(nn.Module):
    """Stands in for a temporal convolution, whose output is a tensor."""

    def forward(self, hidden_states: Tensor, num_frames: int = 1) -> Tensor:
        return hidden_states


class _PassedTransformer(nn.Module):
    """Stands in for a temporal transformer, whose output is a tuple."""

    def forward(
        self,
        hidden_states: Tensor,
        num_frames: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        return (hidden_states,)


@contextlib.contextmanager
def without_temporal_layers(unet: nn.Module) -> Iterator[None]:
    """Inside the context frames do not see each other.

    The temporal layers are taken out of the module tree and put back at the end, so inside it
    ``parameters()`` and ``state_dict()`` lack theirs.

    Args:
        unet: a diffusers ``UNet3DConditionModel``.
    """
    layers = temporal_layers(unet)
    try:
        remove_temporal_layers(unet)
        yield
    finally:
        for parent, name, child in layers:
            setattr(parent, name, child)


def remove_temporal_layers(unet: nn.Module) -> None:
    """Take them out for good, in place."""
    for parent, name, child in temporal_layers(unet):
        conv = isinstance(child, TemporalConvLayer)
        setattr(parent, name, _PassedConv() if conv else _PassedTransformer())


def temporal_layers(unet: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Every temporal layer as (the module that holds it, under which name, the layer)."""
    return [
        (parent, name, child)
        for parent in list(unet.modules())
        for name, child in parent.named_children()
        if isinstance(child, TEMPORAL_LAYERS)
    ]
