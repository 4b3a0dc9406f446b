"""One picture of what training will see: a row for a clip, a group of frames for a variant.

Shape legend: v variants, f frames, h/w pixels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from motion_ray.data.inspect import ClipReport
from motion_ray.errors import DataError
from motion_ray.files import write_bytes_atomic

_PAPER, _INK, _FAINT = "white", "black", "#666666"
_TEXT_WIDTH, _GAP, _HEADER, _LETTERS = 230, 12, 28, 34


def write_contact_sheet(path: Path, reports: Sequence[ClipReport]) -> int:
    """Write a PNG of all reports that hold pictures.

    Returns:
        Number of rows; with none nothing is written.

    Raises:
        DataError: the file cannot be written.
    """
    rows = [report for report in reports if report.shown is not None]
    if not rows:
        return 0
    sheet = _draw(rows)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_bytes_atomic(path, buffer.getvalue(), DataError)
    return len(rows)


def _draw(rows: Sequence[ClipReport]) -> Image.Image:
    first = rows[0].shown
    assert first is not None
    variants, frames, _, height, width = first.shape
    group = frames * width + _GAP
    size = (_TEXT_WIDTH + variants * group, _HEADER + len(rows) * (height + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for variant in range(variants):
        title = "plain" if variant == 0 else f"variant {variant}"
        draw.text((_TEXT_WIDTH + variant * group, 8), title, _FAINT, font)
    for row, report in enumerate(rows):
        assert report.shown is not None
        top = _HEADER + row * (height + _GAP)
        _label(draw, font, report, top, height)
        for variant, clip in enumerate(report.shown):
            for frame, picture in enumerate(clip.permute(0, 2, 3, 1).contiguous().numpy()):
                place = (_TEXT_WIDTH + variant * group + frame * width, top)
                sheet.paste(Image.fromarray(picture), place)
    return sheet


def _label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    report: ClipReport,
    top: int,
    height: int,
) -> None:
    info = report.info
    assert info is not None
    facts = f"{info.width} x {info.height}, {info.fps:.3g} fps, {info.seconds:.1f} s"
    lines = [
        (f"{report.source}: {report.clip.path.name}", _INK),
        (facts, _FAINT),
        *((line, _INK) for line in textwrap.wrap(report.clip.caption, _LETTERS)),
    ]
    for i, (line, colour) in enumerate(lines[: max(2, height // 16)]):
        short = line if len(line) <= _LETTERS else line[: _LETTERS - 2] + ".."
        draw.text((6, top + 16 * i), short, colour, font)
