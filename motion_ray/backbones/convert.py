"""A copy of a diffusers model folder with safetensors where it had pickles.

Hubs hold ZeroScope's weights as ``.bin`` files, which are pickles. They are read here with torch's
restricted reader, which makes tensors and containers and calls nothing else that a file may name.
"""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from motion_ray.backbones.folder import (
    ALLOWED,
    WEIGHTS,
    check_classes,
    open_model_folder,
    weight_files,
)
from motion_ray.errors import BaseModelError
from motion_ray.files import atomic_directory

PICKLED = {**WEIGHTS, "text_encoder": "pytorch_model"}
"""Names that the libraries gave to weights before safetensors, without their ending."""
HALVED = ".fp16"  # before the ending of a second, half-precision file


def convert(source: Path, target: Path, on_part: Callable[[str], None] | None = None) -> str:
    """Copy a model folder; what it has as pickles becomes safetensors, tensor for tensor.

    Args:
        source: a diffusers folder, e.g. of ZeroScope; it is left as it is.
        target: new; appears when it is complete.
        on_part: told the name of each part before it is copied.

    Returns:
        The fingerprint of the copy.

    Raises:
        BaseModelError: it is no folder of a supported model, a part has no weights, a pickle holds
            more than tensors, or the target exists or cannot be written.
    """
    check_classes(source)
    found = {part: _weights_of(source / part, part) for part in WEIGHTS}
    size = sum(file.stat().st_size for files in found.values() for file in files)
    with atomic_directory(target, BaseModelError, expected_bytes=size) as folder:
        shutil.copyfile(source / "model_index.json", folder / "model_index.json")
        for part in ALLOWED:
            if on_part is not None:
                on_part(part)
            copy_settings(source / part, folder / part)
            if part in WEIGHTS:
                _copy_weights(found[part], folder / part, WEIGHTS[part])
        return open_model_folder(folder).fingerprint


def copy_settings(source: Path, target: Path) -> None:
    """Copy a part of a model without its weights: configs and vocabularies. The target is new."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".txt") and not file.name.endswith(".index.json"):
            shutil.copyfile(file, target / file.name)


def _weights_of(folder: Path, part: str) -> list[Path]:
    """Files of a part: safetensors before pickles, whole precision before half."""
    name, pickled = WEIGHTS[part], PICKLED[part]
    names = weight_files(folder, name)
    if all((folder / each).is_file() for each in names):
        return [folder / each for each in sorted(names)]
    for each in (f"{pickled}.bin", f"{name}{HALVED}.safetensors", f"{pickled}{HALVED}.bin"):
        if (folder / each).is_file():
            return [folder / each]
    raise BaseModelError(
        folder,
        f"holds neither {name}.safetensors nor {pickled}.bin",
        "download the whole model; weights in several .bin files are not read",
    )


def _copy_weights(files: list[Path], folder: Path, name: str) -> None:
    for file in files:
        if file.suffix == ".bin":
            save_file(_tensors(file), folder / f"{name}.safetensors", {"format": "pt"})
        else:
            shutil.copyfile(file, folder / file.name.replace(f"{name}{HALVED}", name))


def _tensors(file: Path) -> dict[str, Tensor]:
    """What a pickle holds, each tensor with memory of its own."""
    try:
        content: Any = torch.load(
            file, "cpu", weights_only=True, mmap=zipfile.is_zipfile(file) or None
        )
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        rule = f"cannot be read as tensors alone ({reason})"
        raise BaseModelError(
            file, rule, "download it again, or find the model as safetensors"
        ) from None
    if not isinstance(content, dict) or not content:
        raise BaseModelError(file, "must hold tensors by name", "download it again")
    named: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise BaseModelError(file, f"{key!r} is no tensor", "find the model as safetensors")
        shared = value.untyped_storage().nbytes() != value.nbytes
        named[str(key)] = value.clone() if shared else value.contiguous()
    return named
