"""A clip as a folder of numbered pictures (``00001.jpg`` ..), the form Jester is distributed in.

Shape legend: f frames, h/w pixels.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from motion_ray.data.container import MAX_FRAME_PIXELS, MAX_FRAMES
from motion_ray.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_NUMBER = re.compile(r"(\d+)$")
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error)  # Pillow's, on broken data
# How a stored picture is turned to be shown, by its EXIF orientation; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def numbered_frames(folder: Path) -> list[Path]:
    """The pictures whose names end in a number, in its order; empty if there are none.

    Raises:
        DataError: two pictures have the same number, numbers are missing in between, or the folder
            cannot be read.
    """
    numbered: dict[int, Path] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:  # lost+found, for one, is only the administrator's to read
        rule = f"cannot be read: {error.strerror}"
        raise DataError(str(folder), rule, "check its permissions, or move it away") from None
    for path in entries:
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
    """Height and width of a picture as shown.

    Raises:
        DataError: it is no jpg or png, damaged, or absurdly large.
    """
    with _open(path) as picture:
        width, height = picture.size
        on_its_side = _orientation(path, picture) >= 5
    return (width, height) if on_its_side else (height, width)


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Pictures of one size as uint8 RGB ``[f, 3, h, w]``; a path may be listed several times.

    Of 16 bits a colour the upper 8 are kept; what is see-through lies over black.

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
        turn = _UPRIGHT.get(_orientation(path, picture))
        try:
            shown = _rgb(picture)
        except _BROKEN:
            raise _damaged(path) from None
    return torch.from_numpy(np.array(shown if turn is None else shown.transpose(turn)))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey: convert() would make everything above 255 white
        grey = np.array(picture)
        grey[grey == picture.info.get("transparency", -1)] = 0
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    # Without this, colours that nobody sees would come out.
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("RGB")


def _orientation(path: Path, picture: Image.Image) -> int:
    """By EXIF, 1 to 8; whatever else stands there means nothing and counts as upright."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation)  # may read the whole picture
    except _BROKEN:
        raise _damaged(path) from None
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _open(path: Path) -> Image.Image:
    try:
        # only these, whatever the name says: Pillow would run Ghostscript for an EPS
        picture = Image.open(path, formats=("JPEG", "PNG"))
    except (UnidentifiedImageError, *_BROKEN):
        raise DataError(str(path), "is damaged or no jpg or png", "copy it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(str(path), "has far too many pixels", "scale it down") from None
    width, height = picture.size
    if width * height > MAX_FRAME_PIXELS:
        picture.close()
        rule = f"is {height} x {width} pixels, at most 4096 x 4096 are read"
        raise DataError(str(path), rule, "scale it down")
    return picture


def _damaged(path: Path) -> DataError:
    fix = "copy it again, or save it anew in another program"
    return DataError(str(path), "is damaged and cannot be decoded", fix)


def _size(shape: torch.Size) -> str:
    return f"{shape[0]} x {shape[1]}"
