"""A clip as a folder of numbered pictures (``00001.jpg`` ..), the form Jester is distributed in.

Shape legend: f frames, h/w pixels.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from motion_ray.data.container import MAX_FRAME_PIXELS, MAX_FRAMES
from motion_ray.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_NUMBER = re.compile(r"(\d+)$")


def numbered_frames(folder: Path) -> list[Path]:
    """The pictures whose names end in a number, in its order; empty if there are none.

    Raises:
        DataError: two pictures have the same number, or numbers are missing in between.
    """
    numbered: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBER.search(path.stem)
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES or match is None:
            continue
        number = int(match[1])
        if number in numbered:
            rule = f"two pictures have number {number}: {numbered[number].name} and {path.name}"
            raise DataError(str(folder), rule, "keep one clip in a folder")
        numbered[number] = path
    numbers = sorted(numbered)
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(steps) > 1:  # every second or fourth frame is fine, a hole is not
        gap = next(a for a, b in itertools.pairwise(numbers) if b - a > min(steps))
        rule = f"a picture is missing after {numbered[gap].name}: the motion would jump"
        raise DataError(str(folder), rule, "put it back, or number the pictures anew")
    if len(numbered) > MAX_FRAMES:
        raise DataError(str(folder), f"holds more than {MAX_FRAMES} pictures", "cut it down")
    return [numbered[number] for number in numbers]


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as shown, without decoding its pixels.

    Raises:
        DataError: it is no picture, or absurdly large.
    """
    with _open(path) as picture:
        width, height = picture.size
        turned = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientation: on its side
    return (width, height) if turned else (height, width)


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Pictures of one size as uint8 RGB ``[f, 3, h, w]``; a path may be listed several times.

    Raises:
        DataError: one is damaged, or has another size than the first.
    """
    pictures = {path: _read(path) for path in dict.fromkeys(paths)}
    first = pictures[paths[0]].shape
    for path, picture in pictures.items():
        if picture.shape != first:
            rule = f"is {_size(picture.shape)}, but the clip's first picture is {_size(first)}"
            raise DataError(str(path), rule, "give all pictures of a clip one size")
    return torch.stack([pictures[path] for path in paths]).permute(0, 3, 1, 2).contiguous()


def _read(path: Path) -> Tensor:
    with _open(path) as picture:
        try:
            upright = ImageOps.exif_transpose(picture)
            return torch.from_numpy(np.array(upright.convert("RGB")))
        except (OSError, SyntaxError, ValueError):  # what Pillow raises on broken data
            rule = "is damaged and cannot be decoded"
            raise DataError(str(path), rule, "copy it again") from None


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise DataError(str(path), "is damaged or no jpg or png", "copy it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(str(path), "has far too many pixels", "scale it down") from None
    width, height = picture.size
    if width * height > MAX_FRAME_PIXELS:
        picture.close()
        rule = f"is {height} x {width} pixels, at most 4096 x 4096 are read"
        raise DataError(str(path), rule, "scale it down")
    return picture


def _size(shape: torch.Size) -> str:
    return f"{shape[0]} x {shape[1]}"
