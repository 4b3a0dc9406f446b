"""How a video classifier wants its frames, read from its ``preprocessor_config.json``.

The same steps as transformers' own processors of VideoMAE, TimeSformer, ViViT and V-JEPA 2, on
whole batches of uint8 tensors and on any device (a test compares with them). Values are read,
classes named in the file are not loaded. Shapes: n videos, f frames (of the video, then of the
model), h/w pixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from motion_ray.errors import BaseModelError

Rgb = tuple[float, float, float]
#: PIL's numbers of the filters that processors use.
FILTERS = {
    0: InterpolationMode.NEAREST,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
}


@dataclass(frozen=True)
class ClipPreparation:
    """From uint8 videos to a model's input.

    Attributes:
        frames: of the model.
        shortest: the shorter side after resizing, keeping the ratio; or None.
        exact: height and width after resizing, whatever the ratio; or None. Both None: no resizing.
        crop: height and width cut from the middle, or None.
        interpolation: the filter of the resizing.
        scale: factor of pixel values.
        shift: added after scaling.
        mean: subtracted after that, by channel.
        std: divided by at the end, by channel.
    """

    frames: int
    shortest: int | None
    exact: tuple[int, int] | None
    crop: tuple[int, int] | None
    interpolation: InterpolationMode
    scale: float
    shift: float
    mean: Rgb
    std: Rgb

    def __call__(self, videos: Tensor) -> Tensor:
        """uint8 ``[n, f, 3, h, w]`` to float32 ``[n, f', 3, h', w']``."""
        chosen = videos[:, evenly(videos.shape[1], self.frames).to(videos.device)]
        target = [self.shortest] if self.shortest is not None else self.exact
        if target is not None and list(target) != list(chosen.shape[-2:]):
            chosen = pictures.resize(chosen, list(target), self.interpolation, antialias=True)
        if self.crop is not None:
            chosen = pictures.center_crop(chosen, list(self.crop))
        mean, std = (
            torch.tensor(each, device=videos.device)[:, None, None]
            for each in (self.mean, self.std)
        )
        return (chosen.float() * self.scale + self.shift - mean) / std


def evenly(have: int, want: int) -> Tensor:
    """Indices of ``want`` frames spread over ``have``: the middles of as many equal parts.

    All frames in order if they are as many; each repeated if there are fewer.
    """
    return ((torch.arange(want) + 0.5) * have / want).long()


def read_preparation(path: Path, frames: int, sides: tuple[int, int]) -> ClipPreparation:
    """Read ``preprocessor_config.json``.

    Args:
        path: the file.
        frames: that the model's config wants.
        sides: height and width that it wants.

    Raises:
        BaseModelError: the file is unreadable, holds values that cannot be used, or leads to
            pictures of another size than the model's.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        preparation = _parse(values, frames)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(
            str(path), f"cannot be used: {type(error).__name__}: {error}", "use another copy"
        ) from None
    final = preparation.crop or preparation.exact
    if final is None and preparation.shortest is not None and sides[0] == sides[1]:
        final = (preparation.shortest, preparation.shortest)  # of square videos
    if final is not None and final != sides:
        raise BaseModelError(
            str(path),
            f"makes pictures of {final[0]} x {final[1]}, the model takes {sides[0]} x {sides[1]}",
            "config and preprocessor must belong together",
        )
    return preparation


def _parse(values: dict[str, Any], frames: int) -> ClipPreparation:
    resize = values.get("do_resize", True)
    size = values["size"] if resize else {}
    # Old files give a bare number: the shorter side of the resizing, both sides of the cut.
    size = {"shortest_edge": size} if isinstance(size, int) else size
    cut = values.get("crop_size") if values.get("do_center_crop", True) else None
    cut = {"height": cut, "width": cut} if isinstance(cut, int) else cut
    scaled, normal = values.get("do_rescale", True), values.get("do_normalize", True)
    offset = bool(values.get("offset", False))
    factor = float(values.get("rescale_factor", 1 / 127.5 if offset else 1 / 255))
    return ClipPreparation(
        frames=frames,
        shortest=int(size["shortest_edge"]) if "shortest_edge" in size else None,
        exact=(int(size["height"]), int(size["width"])) if "height" in size else None,
        crop=(int(cut["height"]), int(cut["width"])) if cut else None,
        interpolation=FILTERS[values.get("resample", 2)],
        scale=factor if scaled else 1.0,
        shift=-1.0 if scaled and offset else 0.0,
        mean=_rgb(values["image_mean"]) if normal else (0.0, 0.0, 0.0),
        std=_rgb(values["image_std"]) if normal else (1.0, 1.0, 1.0),
    )


def _rgb(values: list[float]) -> Rgb:
    red, green, blue = values
    return float(red), float(green), float(blue)
