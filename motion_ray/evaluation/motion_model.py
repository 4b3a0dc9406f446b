"""The embedded motion classifier as a folder: architecture, preparation of frames, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.data.puppets.render import FRAMES, SIZE
from motion_ray.errors import CheckpointError
from motion_ray.evaluation.motion import CONFIG, PREPROCESSOR, WEIGHTS
from motion_ray.evaluation.motion_resnet import NAME, ResNetShape
from motion_ray.files import atomic_directory
from motion_ray.manifest import canonical_json
from motion_ray.tensors import write_tensors

SHAPE = ResNetShape()
MEAN, STD = 0.5, 0.25  # of pixel values in 0..1, all channels


def normalised(clips: Tensor) -> Tensor:
    """Model inputs of clips in 0..255, as ``preprocessor_config.json`` has it."""
    return (clips * (1 / 255) - MEAN) / STD


def model_config() -> dict[str, Any]:
    """The content of ``config.json``."""
    return {
        "architectures": [NAME],
        **SHAPE.to_config(),
        "num_frames": FRAMES,
        "image_size": SIZE,
        "id2label": {str(number): motion for number, motion in enumerate(NAMED_MOTIONS)},
    }


def preprocessor_config() -> dict[str, Any]:
    """The content of ``preprocessor_config.json``, in the words of transformers' processors."""
    return {
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 2,  # bilinear
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision; running statistics stay, since small variances would vanish."""
    return {
        name: v if "running_" in name or not v.is_floating_point() else v.to(torch.float16)
        for name, v in weights.items()
    }


def write_motion_folder(
    weights: Mapping[str, Tensor], out: Path, card: Callable[[Path], str]
) -> None:
    """Write what :func:`motion_ray.evaluation.motion.load_motion_classifier` loads, and a card.

    Args:
        weights: the model's state.
        out: must not exist, or be empty.
        card: gives the text of ``README.md``; it is called with the folder that holds the rest.

    Raises:
        CheckpointError: the folder exists, or the disk is full.
    """
    with atomic_directory(out, CheckpointError) as folder:
        write_tensors(folder / WEIGHTS, halved(weights))
        (folder / CONFIG).write_text(canonical_json(model_config()))
        (folder / PREPROCESSOR).write_text(canonical_json(preprocessor_config()))
        (folder / "README.md").write_text(card(folder))
