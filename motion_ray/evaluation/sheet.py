"""A picture of videos for people: a row for each, its text on the left, its frames beside it.

Shapes: n videos, f frames, h/w pixels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from motion_ray.errors import RunFolderError
from motion_ray.files import write_bytes_atomic

TEXT_WIDTH, LETTERS, LINE, GAP = 230, 34, 15, 6  # pixels, but for the letters of a line


def write_video_sheet(path: Path, videos: Sequence[Tensor], texts: Sequence[str]) -> None:
    """Write a PNG of videos.

    Args:
        path: of the picture.
        videos: uint8 ``[f, 3, h, w]`` each, all of one shape.
        texts: what stands beside each.

    Raises:
        ValueError: no videos, or another number of texts.
        RunFolderError: the file cannot be written.
    """
    if not videos or len(videos) != len(texts):
        raise ValueError(f"one text a video and at least one, got {len(texts)} and {len(videos)}")
    frames, _, height, width = videos[0].shape
    sheet = Image.new("RGB", (TEXT_WIDTH + frames * width, len(videos) * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, (video, text) in enumerate(zip(videos, texts, strict=True)):
        top = row * (height + GAP)
        for number, line in enumerate(textwrap.wrap(text, LETTERS)[: max(1, height // LINE)]):
            draw.text((6, top + LINE * number), line, "black", font)
        pictures = video.permute(0, 2, 3, 1).contiguous().numpy()
        for frame, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (TEXT_WIDTH + frame * width, top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_bytes_atomic(path, buffer.getvalue(), RunFolderError)
