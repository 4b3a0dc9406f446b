"""The embedded model's parts: built from nothing, written to and read from a diffusers folder.

Small versions of what ModelScope and ZeroScope are made of, so that the same code runs them all.
Sizes that the product never changes are constants here; the widths are arguments, because tests
build narrow ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, ModelMixin, UNet3DConditionModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motion_ray.backbones.kernels import use_cpu_kernels
from motion_ray.backbones.unet3d import quiet_loading

START, END = "<|startoftext|>", "<|endoftext|>"  # ids 0 and 1; the second also pads
NORM_GROUPS = 16  # fewer in narrow models: of one channel alone, a norm leaves no bias
SIZE, FACTOR = 64, 8  # pixels a side, pixels a latent cell

M = TypeVar("M", bound=ModelMixin)


def new_vae(width: int, channels: int) -> AutoencoderKL:
    """An autoencoder of 8 pixels a cell.

    Args:
        width: of its outermost layers; the inner ones are twice and four times as wide.
        channels: of the latents.
    """
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        # diffusers annotates its tuples with the length of their defaults
        down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),  # pyright: ignore[reportArgumentType]
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=min(NORM_GROUPS, width // 2),
        sample_size=SIZE,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def new_denoiser(width: int, head: int, channels: int, text_width: int) -> UNet3DConditionModel:
    """A video denoiser of two levels that begins as an image model.

    Every temporal transformer starts with an output of zero, as the temporal convolutions do by
    themselves, so that video training goes on from what image training reached.

    Args:
        width: of the outer level; the inner one is twice as wide.
        head: width of an attention head; divides both.
        channels: of the latents.
        text_width: of the text states.
    """
    unet = UNet3DConditionModel(
        sample_size=SIZE // FACTOR,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(width, 2 * width),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=head,
        norm_num_groups=min(NORM_GROUPS, width // 2),
    )
    for module in unet.modules():
        if isinstance(module, TransformerTemporalModel):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
    return unet


def new_text_encoder(
    vocabulary: int, width: int, layers: int, heads: int, positions: int
) -> CLIPTextModel:
    """A text encoder of CLIP's kind for the ids of :func:`new_tokenizer`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=positions,
            projection_dim=width,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def new_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], positions: int
) -> CLIPTokenizer:
    """A tokenizer of CLIP's kind.

    Args:
        vocabulary: piece to id; :data:`START` is 0 and :data:`END` is 1.
        merges: of byte-pair encoding, in order.
        positions: longest text in tokens, start and end included.
    """
    return CLIPTokenizer(
        vocab=dict(vocabulary),
        merges=list(merges),  # pyright: ignore[reportArgumentType]
        model_max_length=positions,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
    )


def new_scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR and trailing spacing.

    Colour and place are decided where there is most noise; an epsilon loss hardly trains that, and
    a schedule that ends short of pure noise lets the mean brightness leak through.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def scheduler_config() -> dict[str, Any]:
    """The content of ``scheduler_config.json``, as far as training and sampling read it."""
    return dict(new_scheduler().config)


def load_vae(folder: Path) -> AutoencoderKL:
    """The float32 autoencoder of a diffusers folder, on the CPU, in evaluation mode."""
    return _load(AutoencoderKL, folder, "vae")


def load_denoiser(folder: Path) -> UNet3DConditionModel:
    """The float32 denoiser of a diffusers folder, on the CPU, in evaluation mode."""
    return _load(UNet3DConditionModel, folder, "unet")


def load_text(folder: Path) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """The float32 text encoder of a diffusers folder, frozen, and its tokenizer."""
    with quiet_loading():
        encoder = CLIPTextModel.from_pretrained(
            str(folder), subfolder="text_encoder", use_safetensors=True, dtype=torch.float32
        )
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), subfolder="tokenizer")
    return encoder.requires_grad_(False).eval(), tokenizer


def save_text(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write what :func:`load_text` reads."""
    with quiet_loading():
        encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(str(folder / "tokenizer"))


def prepare_denoiser(unet: UNet3DConditionModel, device: torch.device) -> UNet3DConditionModel:
    """Move a denoiser to where it trains, with the kernels of that device.

    It stays in evaluation mode: dropout would be the only randomness that is not drawn by the
    training, and a model this small has no use for it.
    """
    unet.to(device).eval()  # pyright: ignore[reportArgumentType]
    if device.type == "cpu":
        use_cpu_kernels(unet)
    return unet


def _load(kind: type[M], folder: Path, part: str) -> M:
    with quiet_loading():
        loaded = kind.from_pretrained(
            str(folder), subfolder=part, use_safetensors=True, torch_dtype=torch.float32
        )
    # A module that was loaded remembers its path and would write it into every copy.
    config = {name: v for name, v in loaded.config.items() if not name.startswith("_")}
    fresh = kind.from_config(config)  # pyright: ignore[reportAttributeAccessIssue]
    fresh.load_state_dict(loaded.state_dict())
    return fresh.eval()
