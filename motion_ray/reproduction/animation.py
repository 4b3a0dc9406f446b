"""One animation of several methods' videos: a row a method, its name on the left.

Shapes: f frames, h/w pixels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from motion_ray.config import ClipConfig
from motion_ray.data.video import probe, read_clip
from motion_ray.files import write_bytes_atomic

HEIGHT, GAP, TEXT_WIDTH = 96, 4, 120  # pixels; of a video, between two, of a name
MOST_FRAMES = 12
COLOURS = 128  # of a picture


def write_animation(path: Path, rows: Mapping[str, Sequence[Path]]) -> bool:
    """Write a gif of videos; returns False, with nothing written, if there are none.

    Args:
        path: of the gif.
        rows: name to files of videos. A shorter one waits for the longest, and that of the last row
            says how long it takes.

    Raises:
        DataError: a video cannot be read.
        MotionRayError: the file cannot be written.
    """
    shown = {name: [_frames(file) for file in files] for name, files in rows.items() if files}
    if not shown:
        return False
    longest = max(len(video) for videos in shown.values() for video in videos)
    pictures = [
        _picture({name: [video[: at + 1][-1] for video in each] for name, each in shown.items()})
        for at in range(longest)
    ]
    buffer = io.BytesIO()
    last = [files for files in rows.values() if files][-1]
    seconds = probe(last[0]).seconds / len(pictures)
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds),
        loop=0,
        optimize=True,
    )
    write_bytes_atomic(path, buffer.getvalue())
    return True


def _frames(file: Path) -> Tensor:
    """Evenly spread frames of a video, uint8 ``[f, 3, h, w]``."""
    info = probe(file)
    size = ClipConfig(frames=info.frames, fps=None, height=info.height, width=info.width)
    frames = read_clip(file, size).frames
    chosen = torch.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().long()
    return frames[chosen]


def _picture(rows: Mapping[str, Sequence[Tensor]]) -> Image.Image:
    """One moment of all videos."""
    images = {name: [_enlarged(frame) for frame in frames] for name, frames in rows.items()}
    columns = max(map(len, images.values()))
    width = max(image.width for each in images.values() for image in each)
    size = (TEXT_WIDTH + columns * (width + GAP), len(images) * (HEIGHT + GAP))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, (name, frames) in enumerate(images.items()):
        top = row * (HEIGHT + GAP)
        draw.text((6, top + 8), textwrap.fill(name, 14), "black", font)
        for column, frame in enumerate(frames):
            sheet.paste(frame, (TEXT_WIDTH + column * (width + GAP), top))
    return sheet.quantize(COLOURS, dither=Image.Dither.NONE)


def _enlarged(frame: Tensor) -> Image.Image:
    image = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
    width = round(image.width * HEIGHT / image.height)
    return image.resize((width, HEIGHT), Image.Resampling.LANCZOS)
