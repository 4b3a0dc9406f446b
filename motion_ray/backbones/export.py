"""A loaded base model, with whatever is applied to it, as a folder that diffusers reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from motion_ray.backbones.convert import copy_settings
from motion_ray.backbones.folder import ALLOWED, WEIGHTS
from motion_ray.backbones.inflated import PREFIX
from motion_ray.backbones.unet3d import UNet3DBackbone, model_folder
from motion_ray.errors import BaseModelError
from motion_ray.files import atomic_directory


def export_pipeline(
    backbone: UNet3DBackbone, base: str, target: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write a ``TextToVideoSDPipeline`` folder with the values that the parameters have now.

    Around it, ``with delta.applied(backbone):`` makes it a model that knows the motion, for any
    program that takes diffusers folders.

    Args:
        backbone: loaded from the base.
        base: ``"puppet"`` or a diffusers folder; configs and tokenizer come from there.
        target: new; appears when it is complete.
        dtype: of the written weights.

    Raises:
        BaseModelError: the base is inflated, which no class of diffusers is; a value does not fit
            the type; the target exists or cannot be written.
    """
    if base.startswith(PREFIX):
        raise BaseModelError(base, "diffusers has no class for an inflated model", "serve it here")
    source = model_folder(base)
    parts: dict[str, nn.Module] = {
        "unet": backbone.denoiser,
        "vae": backbone.vae,
        "text_encoder": backbone.text_encoder,
    }
    with atomic_directory(target, BaseModelError) as folder:
        shutil.copyfile(source / "model_index.json", folder / "model_index.json")
        for part in ALLOWED:
            copy_settings(source / part, folder / part)
            if part in WEIGHTS:
                _save(parts[part], folder / part / f"{WEIGHTS[part]}.safetensors", dtype)


def _save(module: nn.Module, file: Path, dtype: torch.dtype) -> None:
    values = {}
    for name, value in module.state_dict().items():
        kept = value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
        if kept.is_floating_point() and not torch.isfinite(kept).all():
            rule = f"{name} does not fit into {dtype}".replace("torch.", "")
            raise BaseModelError(file.parent.name, rule, "write float32 (--precision fp32)")
        values[name] = kept.contiguous()
    save_file(values, file, {"format": "pt"})
