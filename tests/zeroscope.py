"""A base folder of ZeroScope's shape with random weights: 1,411 M parameters in the UNet."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.tiny import tiny_tokenizer


def build_zeroscope_shape(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write the folder (2.9 GB in bfloat16). Real in everything but what was learned, the
    vocabulary and the text encoder's depth (2 of 23 layers, full width)."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        unet = UNet3DConditionModel(
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
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=64,
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=2,
                num_attention_heads=16,
                max_position_embeddings=77,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
    finally:
        torch.set_default_dtype(torch.float32)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    TextToVideoSDPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tiny_tokenizer(77),
        unet=unet,
        scheduler=scheduler,
    ).save_pretrained(folder, safe_serialization=True)
    return folder
