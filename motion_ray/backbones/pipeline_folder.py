"""Writing a text-to-video model as a diffusers folder, and proof that diffusers itself reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet3DConditionModel
from torch import Tensor

from motion_ray.backbones.embedded import SIZE, load_text, new_scheduler
from motion_ray.backbones.unet3d import load_backbone, quiet_loading
from motion_ray.errors import BaseModelError


def write_pipeline(
    folder: Path, unet: UNet3DConditionModel, vae: AutoencoderKL, text: Path
) -> None:
    """Fill a folder with a ``TextToVideoSDPipeline`` in half precision.

    Args:
        folder: exists.
        unet: its weights are halved in place.
        vae: likewise.
        text: folder with ``text_encoder/`` and ``tokenizer/``.
    """
    encoder, tokenizer = load_text(text)
    pipeline = TextToVideoSDPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=new_scheduler(),  # pyright: ignore[reportArgumentType]
    )
    with quiet_loading():
        pipeline.save_pretrained(str(folder), safe_serialization=True)
    # A tokenizer that was loaded saves how it was loaded as well.
    shutil.copytree(text / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)


def check_pipeline(folder: Path, frames: int) -> None:
    """Load a folder as any user of diffusers would, and as we do, and draw with it.

    Args:
        folder: what :func:`write_pipeline` filled.
        frames: of the video that is drawn.

    Raises:
        BaseModelError: it draws nothing sensible, or our loader refuses it.
    """
    with quiet_loading():
        pipeline = TextToVideoSDPipeline.from_pretrained(
            str(folder), use_safetensors=True, dtype=torch.float32
        )
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.eval()
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        "a red robot waving",
        num_frames=frames,
        height=SIZE,
        width=SIZE,
        num_inference_steps=2,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        return_dict=False,
    )[0]
    shape = (1, frames, 3, SIZE, SIZE)
    if not isinstance(drawn, Tensor) or drawn.shape != shape or not drawn.isfinite().all():
        raise BaseModelError(
            folder, "the stock pipeline draws no video with it", "look at the stages' sheets"
        )
    load_backbone(str(folder), "cpu")


def parameter_counts(folder: Path) -> dict[str, tuple[int, int]]:
    """Parameters and tensors of the denoiser, VAE and text encoder of a folder, by part."""
    backbone = load_backbone(str(folder), "cpu")
    parts = {
        "unet": backbone.denoiser,
        "vae": backbone.vae,
        "text_encoder": backbone.text_encoder,
    }
    return {
        name: (sum(p.numel() for p in part.parameters()), len(list(part.parameters())))
        for name, part in parts.items()
    }
