"""Where a run gets its models from: fresh from disk, or copies of what this process has kept.

A process that trains one motion after another would otherwise read, check and build the same base
model twice for each of them (once to train it, once to show what a user will get).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.evaluation.clip import ImageTextEncoder, load_image_text_encoder


@dataclass(frozen=True)
class ModelSource:
    """How a run loads its models.

    Attributes:
        base: (base, device, precision) to a base model that the caller may change.
        encoder: (name or folder, device) to an image-text model that nobody changes.
    """

    base: Callable[[str, str | None, str], UNet3DBackbone] = load_backbone
    encoder: Callable[[str, str], ImageTextEncoder] = load_image_text_encoder


FROM_DISK = ModelSource()


@dataclass
class KeptModels:
    """Models read once by this process; every caller gets a base of its own.

    The kept base stays on the CPU, whatever the device of the copies: a GPU holds one base at a
    time. Whoever trains changes, wraps and hooks its copy only, so the next one starts from what
    was read, bit for bit. Files that change on disk meanwhile are not read again.
    """

    _bases: dict[tuple[str, str | None, str], UNet3DBackbone] = field(default_factory=dict)
    _encoders: dict[tuple[str, str], ImageTextEncoder] = field(default_factory=dict)

    def source(self) -> ModelSource:
        """For :func:`motion_ray.customization.loop.customize`."""
        return ModelSource(self._base, self._encoder)

    def _base(self, base: str, device: str | None, precision: str) -> UNet3DBackbone:
        key = (base, device, precision)
        if key not in self._bases:
            kept = load_backbone(base, device, precision)
            _move(kept, torch.device("cpu"))
            self._bases[key] = kept
        fresh = copy.deepcopy(self._bases[key])
        _move(fresh, fresh.device)
        return fresh

    def _encoder(self, name_or_folder: str, device: str) -> ImageTextEncoder:
        key = (name_or_folder, device)
        if key not in self._encoders:
            self._encoders[key] = load_image_text_encoder(name_or_folder, device)
        return self._encoders[key]


def _move(backbone: UNet3DBackbone, device: torch.device) -> None:
    """Move the weights alone; ``backbone.device`` stays where the model will work."""
    parts: list[nn.Module] = [backbone.denoiser, backbone.vae, backbone.text_encoder]
    for part in parts:
        nn.Module.to(part, device)
