"""Activation checkpointing for UNet3D, which diffusers 0.42 does not offer for this class.

Inside the unit (a residual block, a temporal convolution, a transformer) activations are dropped
after the forward pass and computed again in backward: less memory for about a third more
arithmetic.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

UNITS = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)


def recompute_activations(unet: nn.Module) -> int:
    """Make every unit of ``unet`` recompute its activations in backward, in place; returns how
    many.
    """
    units = [module for module in unet.modules() if isinstance(module, UNITS)]
    for unit in units:
        _wrap(unit)
    return len(units)


def _wrap(unit: nn.Module) -> None:
    plain = unit.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not is_grad_enabled():
            return plain(*args, **kwargs)
        # Dropout must draw the same mask in the recomputation, hence preserve_rng_state.
        return checkpoint(plain, *args, use_reentrant=False, preserve_rng_state=True, **kwargs)

    unit.forward = forward
