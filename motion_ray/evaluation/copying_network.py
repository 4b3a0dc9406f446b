"""The embedded copy detector of the puppet world: a small RegNet and a threshold, from a folder.

SSCD, the paper's detector, was made for photographs and finds most drawn frames of 64 pixels alike.
This one is trained the same way (arXiv 2202.10261) on frames of this world. Shapes: n frames, d
length of a descriptor, s picture side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.transforms.v2 import functional as pictures

from motion_ray.errors import BaseModelError
from motion_ray.evaluation.copying import check_frames
from motion_ray.manifest import sha256_of, verify_manifest
from motion_ray.tensors import read_tensors

EMBEDDED = "puppet"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "assets" / "copying"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SIZE = 64  # pixels a side that the network sees
MEAN, STD = 0.5, 0.25  # of pixel values in 0..1
FRAMES_PER_CALL = 256  # bounds memory; results do not depend on it


@dataclass(frozen=True)
class DescriptorShape:
    """What can be chosen about the network.

    Attributes:
        stem: channels after the first convolution.
        widths: channels of the stages; each halves the picture's side.
        depths: blocks of the stages.
        group: channels of a group in the blocks' convolutions.
        grid: places a side that the last layer sees one by one. One would average over the picture,
            but where things stand is half of what tells look-alike frames apart.
        length: d, of a descriptor.
    """

    stem: int = 32
    widths: tuple[int, ...] = (48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 2)
    group: int = 24
    grid: int = 4
    length: int = 128

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DescriptorShape:
        """From what a ``config.json`` says under ``network``.

        Raises:
            KeyError, TypeError, ValueError: it says something else.
        """
        return cls(
            int(config["stem"]),
            tuple(int(width) for width in config["widths"]),
            tuple(int(depth) for depth in config["depths"]),
            int(config["group"]),
            int(config["grid"]),
            int(config["length"]),
        )


def build_descriptor(shape: DescriptorShape) -> RegNet:
    """A network with random weights: ``[n, 3, s, s]`` to ``[n, d]``, not yet of unit length."""
    stages = len(shape.widths)
    blocks = BlockParams(
        depths=list(shape.depths),
        widths=list(shape.widths),
        group_widths=[shape.group] * stages,
        bottleneck_multipliers=[1.0] * stages,
        strides=[2] * stages,
    )
    network = RegNet(blocks, num_classes=shape.length, stem_width=shape.stem)
    network.avgpool = nn.AdaptiveAvgPool2d(shape.grid)
    network.fc = nn.Linear(shape.widths[-1] * shape.grid**2, shape.length)
    return network


def network_input(frames: Tensor) -> Tensor:
    """Frames in 0..1, ``[n, 3, s, s]``, as the network takes them."""
    return (frames - MEAN) / STD


@dataclass(frozen=True)
class NetworkDetector:
    """The embedded descriptor: a :class:`motion_ray.evaluation.copying.CopyDetector`."""

    name: str
    sha256: str
    threshold: float
    model: nn.Module
    device: torch.device

    @torch.no_grad()
    def embed(self, frames: Tensor) -> Tensor:
        """Unit vectors ``[n, d]`` of frames, uint8 ``[n, 3, h, w]``; other sizes are resized.

        Raises:
            ValueError: the frames have another shape or type, or there are none.
        """
        check_frames(frames)
        parts = []
        for part in frames.split(FRAMES_PER_CALL):
            images = part.to(self.device).float() / 255
            if tuple(images.shape[-2:]) != (SIZE, SIZE):
                images = pictures.resize(images, [SIZE, SIZE], antialias=True)
            parts.append(functional.normalize(self.model(network_input(images)), dim=-1).cpu())
        return torch.cat(parts)


def load_embedded_detector(
    folder: Path = EMBEDDED_FOLDER, device: str | torch.device = "cpu"
) -> NetworkDetector:
    """Load the embedded copy detector, or a folder of the same form.

    Raises:
        BaseModelError: the folder is missing, incomplete or damaged, or its config and weights do
            not fit.
    """
    if not folder.is_dir():
        raise BaseModelError(
            str(folder), "there is no such folder of a copy detector", f"{EMBEDDED!r} is embedded"
        )
    verify_manifest(folder, BaseModelError)
    weights = read_tensors(folder / WEIGHTS, BaseModelError)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        threshold = float(config["threshold"])
        model = build_descriptor(DescriptorShape.from_config(config["network"]))
        model.load_state_dict(weights)  # copies half into single precision
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        rule = f"does not fit the weights: {' '.join(str(error).split())[:200]}"
        raise BaseModelError(
            str(folder / CONFIG), rule, "config and weights must belong together"
        ) from None
    where = torch.device(device)
    return NetworkDetector(
        name=EMBEDDED if folder == EMBEDDED_FOLDER else str(folder),
        sha256=sha256_of(folder / WEIGHTS),
        threshold=threshold,
        model=model.eval().requires_grad_(False).to(where),
        device=where,
    )
