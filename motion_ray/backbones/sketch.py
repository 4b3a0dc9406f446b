"""A base model without its weights: every tensor has a shape and a type but no memory.

A sketch runs forward and backward in seconds whatever the model's size, which is how the doctor
counts the memory and arithmetic of a step before any of it is spent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motion_ray.backbones.inflated import PREFIX, inflate
from motion_ray.backbones.unet3d import UNet3DBackbone, check_base


def sketch_backbone(
    base: str, dtype: torch.dtype = torch.bfloat16
) -> tuple[UNet3DBackbone, FakeTensorMode]:
    """The backbone that :func:`load_backbone` would give on a GPU, without weights.

    Its tokenizer is real. Its modules run only inside the mode, ``with mode:
    backbone.predict(..)``, on tensors made there.

    Args:
        base: as for :func:`load_backbone`.
        dtype: of the weights.

    Raises:
        BaseModelError: the base cannot be loaded.
    """
    folder = check_base(base)
    mode = FakeTensorMode()
    with mode:
        unet = UNet3DConditionModel.from_config(_config(folder.path / "unet"))
        vae = AutoencoderKL.from_config(_config(folder.path / "vae"))
        text = CLIPTextModel(CLIPTextConfig(**_config(folder.path / "text_encoder")))
        assert isinstance(unet, UNet3DConditionModel) and isinstance(vae, AutoencoderKL)
        for module in (unet, vae, text):
            for parameter in module.parameters():
                # Module.to would swap parameters, which fake ones do not allow.
                parameter.data = parameter.data.to(dtype)
        if base.startswith(PREFIX):
            inflate(unet)
        tokenizer = CLIPTokenizer.from_pretrained(str(folder.path), subfolder="tokenizer")
        backbone = UNet3DBackbone(folder, unet, vae, text, tokenizer, torch.device("cpu"))
    return backbone, mode


def _config(component: Path) -> dict[str, Any]:
    return json.loads((component / "config.json").read_text())
