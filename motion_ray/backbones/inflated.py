"""The image part of a text-to-video model, inflated to clips the way Tune-A-Video does it.

Wu et al., "Tune-A-Video: One-Shot Tuning of Image Diffusion Models for Text-to-Video Generation"
(2023), section 4.1: a text-to-image model makes a clip if its convolutions run frame by frame, its
self-attention also looks at the first and the former frame (sparse causal attention), and every
transformer block ends in a new attention over time whose output starts at zero.

Here the text-to-image model is what is left of a video base without its temporal layers.

Shapes: b batch, f frames, s places of a frame, d width; inside the model frames lie in the batch.
"""

from __future__ import annotations

import hashlib
import math

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from motion_ray.backbones.bypass import remove_temporal_layers
from motion_ray.backbones.kernels import ShortAttention

PREFIX = "inflated:"
"""Before the name or folder of a base, it asks for the base inflated."""
FORMAT = "inflated/1"  # raise it when the same base would be inflated to another function


class FrameCount:
    """How many frames the clip in the model has: its blocks see frames only as a longer batch.

    One object a model, shared by its layers, so that a copy of the model gets a copy of its own.
    """

    def __init__(self) -> None:
        self.frames = 1

    def note(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of the whole denoiser, which is given ``[b, c, f, h, w]`` first."""
        self.frames = args[0].shape[2]

    def split(self, states: Tensor) -> Tensor:
        """``[b*f, s, d]`` to ``[b, f, s, d]``."""
        return states.unflatten(0, (-1, self.frames))


class SparseCausalAttention:
    """Self-attention of a frame over the places of the first and of the former frame.

    The first frame's former is itself. Projections are the image model's own.

    Args:
        count: the frames of the clip.
    """

    def __init__(self, count: FrameCount) -> None:
        self._count = count

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """``[b*f, s, d]`` to the same."""
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("this is self-attention, without a mask")
        assert attn.to_k is not None and attn.to_v is not None and attn.to_out is not None
        q, k, v = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (
                attn.to_q(hidden_states),
                self._first_and_former(attn.to_k(hidden_states)),
                self._first_and_former(attn.to_v(hidden_states)),
            )
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))

    def _first_and_former(self, states: Tensor) -> Tensor:
        """``[b*f, s, d]`` to ``[b*f, 2s, d]``."""
        clips = self._count.split(states)
        first = clips[:, :1].expand_as(clips)
        former = torch.cat([clips[:, :1], clips[:, :-1]], dim=1)
        return torch.cat([first, former], dim=2).flatten(0, 1)


class FrameAttention(nn.Module):
    """What inflation adds to a block: every place attends to itself over the frames.

    The norm has no weights: Tune-A-Video adds one and never trains it.

    Args:
        spatial: self-attention of the same block, whose width and heads it takes.
        count: the frames of the clip.
        generator: of the new weights; on the CPU.
    """

    def __init__(self, spatial: Attention, count: FrameCount, generator: torch.Generator) -> None:
        super().__init__()
        width, inner = spatial.to_q.in_features, spatial.to_q.out_features
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads=spatial.heads, dim_head=inner // spatial.heads)
        assert self.attention.to_out is not None
        for projection in (self.attention.to_q, self.attention.to_k, self.attention.to_v):
            assert isinstance(projection, nn.Linear)
            nn.init.kaiming_uniform_(projection.weight, a=math.sqrt(5), generator=generator)
        output = self.attention.to_out[0]
        assert isinstance(output, nn.Linear)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self._count = count

    def forward(self, states: Tensor) -> Tensor:
        """``[b*f, s, d]`` to the same."""
        by_place = self._count.split(states).transpose(1, 2)  # b s f d
        over_time = by_place.flatten(0, 1)
        changed = over_time + self.attention(self.norm(over_time))
        return changed.view_as(by_place).transpose(1, 2).flatten(0, 1)

    def after(self, block: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of the block that it belongs to."""
        return self(output)


def inflate(unet: nn.Module) -> None:
    """Turn a UNet3D into an inflated image model, in place.

    New weights are drawn from a fixed seed, so that the same base gives the same model everywhere.

    Args:
        unet: a diffusers ``UNet3DConditionModel``, with the kernels that it is to run with.
    """
    remove_temporal_layers(unet)
    count, generator = FrameCount(), torch.Generator().manual_seed(0)
    unet.register_forward_pre_hook(count.note)
    for block in _spatial_blocks(unet):
        assert block.attn1 is not None
        block.attn1.set_processor(SparseCausalAttention(count))  # pyright: ignore[reportArgumentType]
        weight = block.attn1.to_q.weight
        added = FrameAttention(block.attn1, count, generator).to(weight)
        if weight.device.type == "cpu":
            added.attention.set_processor(ShortAttention())  # pyright: ignore[reportArgumentType]
        block.add_module("attn_temp", added)
        block.register_forward_hook(added.after)


def inflated_fingerprint(base: str) -> str:
    """The fingerprint of a base after :func:`inflate`: a delta of one does not fit the other."""
    return hashlib.sha256(f"{FORMAT} {base}".encode()).hexdigest()


def _spatial_blocks(unet: nn.Module) -> list[BasicTransformerBlock]:
    transformers = [m for m in unet.modules() if isinstance(m, Transformer2DModel)]
    return [
        block
        for transformer in transformers
        for block in transformer.modules()
        if isinstance(block, BasicTransformerBlock)
    ]
