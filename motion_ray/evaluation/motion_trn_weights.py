"""Turns TRN's published weights into a folder that a motion classifier is loaded from.

``TRN_jester_RGB_BNInception_TRNmultiscale_segment8_best.pth.tar`` is a pickle. It is read once, as
weights only and only with the sha256 that you give, and written as safetensors; afterwards no
pickle is opened any more. Its class numbers are those of the sorted labels.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motion_ray.errors import BaseModelError
from motion_ray.evaluation.motion_trn import NAME, Trn
from motion_ray.files import atomic_directory
from motion_ray.manifest import canonical_json
from motion_ray.tensors import write_tensors

FRAMES = 8
SIDE, SHORTER = 224, 256  # pixels: of the centre crop, and of the resized picture's shorter side
MEAN = (128.0, 117.0, 104.0)  # of red, green, blue in 0..255
PREFIX = "module."  # left by the parallel training


def convert_trn(path: Path, sha256: str, labels: Sequence[str], folder: Path) -> None:
    """Write a folder for :func:`motion_ray.evaluation.motion.load_motion_classifier`.

    Frames are prepared as for TRN's own test with one crop instead of ten.

    Args:
        path: the published file.
        sha256: that it must have, 64 hexadecimal digits.
        labels: of the data set; they are sorted here.
        folder: to be written; must not exist, or be empty.

    Raises:
        BaseModelError: the file is missing, has another sha256, is no such model, or the folder
            cannot be written.
    """
    state = _read(path, sha256)
    model = Trn(FRAMES, len(labels))
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        first = " ".join(str(error).split())[:300]
        raise BaseModelError(
            str(path), f"is no TRN of {len(labels)} classes: {first}", "use the file for Jester"
        ) from None
    config = {
        "architectures": [NAME],
        "num_frames": FRAMES,
        "image_size": SIDE,
        "id2label": {str(number): label for number, label in enumerate(sorted(labels))},
    }
    with atomic_directory(folder, BaseModelError) as target:
        write_tensors(target / "model.safetensors", model.state_dict())
        (target / "config.json").write_text(canonical_json(config))
        (target / "preprocessor_config.json").write_text(canonical_json(preprocessor()))


def preprocessor() -> dict[str, Any]:
    """How it wants its frames, in the words of transformers' processors."""
    return {
        "do_resize": True,
        "size": {"shortest_edge": SHORTER},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": [1.0, 1.0, 1.0],
    }


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BaseModelError(
            str(path), f"cannot be read: {error.strerror}", "see its name"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise BaseModelError(
            str(path), f"has the sha256 {found}, not {sha256[:64]}", "use the copy that you trust"
        )
    try:
        values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = values["state_dict"]
        named = {name.removeprefix(PREFIX): value.float() for name, value in state.items()}
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())[:200]
        raise BaseModelError(
            str(path), f"holds no weights of a model: {first}", "use the published file"
        ) from None
    return named
