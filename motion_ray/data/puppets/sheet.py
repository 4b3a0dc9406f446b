"""One picture of the whole world: every kind, and every motion in a few frames.

Shape legend: f frames, s picture side.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import subject
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS, IMPROVISED
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import SIZE, render_batch
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import DataError
from motion_ray.files import write_bytes_atomic

SHOWN = (0, 2, 4, 6)  # frames of a clip of FRAMES
IMPROVISED_CLIPS = 6
PALETTE = 224  # colours of the file: enough that skies stay smooth

_PAPER, _INK = "white", "black"
_MARGIN, _GAP, _LABEL, _TITLE = 8, 10, 15, 24  # pixels
_COLUMNS = 3


@dataclass(frozen=True)
class _Panel:
    """A label over frames ``[f, 3, s, s]``."""

    label: str
    frames: Tensor


@dataclass(frozen=True)
class _Section:
    title: str
    columns: int
    panels: Sequence[_Panel]

    @property
    def rows(self) -> int:
        return -(-len(self.panels) // self.columns)

    @property
    def height(self) -> int:
        return _TITLE + self.rows * (_LABEL + SIZE + _GAP)


def write_sheet(path: Path) -> None:
    """Write the picture as a PNG.

    Raises:
        DataError: the name does not end in .png, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise DataError(str(path), "the sheet is a PNG", "for example puppets.png")
    buffer = io.BytesIO()
    few = draw_sheet().quantize(PALETTE, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
    write_bytes_atomic(path, buffer.getvalue(), DataError)


def draw_sheet() -> Image.Image:
    """Kinds, alone and in twos; base, held-out and improvised motions in four frames of a clip."""
    sections = _sections()
    width = 2 * _MARGIN + _COLUMNS * (len(SHOWN) * SIZE + _GAP) - _GAP
    height = 2 * _MARGIN + sum(section.height for section in sections)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, label = ImageFont.load_default(14), ImageFont.load_default(11)
    top = _MARGIN
    for section in sections:
        draw.text((_MARGIN, top), section.title, _INK, title)
        step = (width - 2 * _MARGIN + _GAP) // section.columns
        for number, panel in enumerate(section.panels):
            row, column = divmod(number, section.columns)
            x, y = _MARGIN + column * step, top + _TITLE + row * (_LABEL + SIZE + _GAP)
            draw.text((x, y), panel.label, _INK, label)
            for frame, picture in enumerate(panel.frames.permute(0, 2, 3, 1).contiguous().numpy()):
                sheet.paste(Image.fromarray(picture), (x + frame * SIZE, y + _LABEL))
        top += section.height
    return sheet


def _sections() -> list[_Section]:
    looks = _looks()
    kinds = [
        PuppetScene(kind, *next(looks), "standing still", count)
        for count in (1, 2)
        for kind in KINDS
    ]
    drawn = render_batch(kinds)[:, :1]
    alone_and_in_twos = [
        _Panel(subject(scene, colour=False), clip) for scene, clip in zip(kinds, drawn, strict=True)
    ]
    who = itertools.cycle(KINDS)

    def clips(motions: Sequence[str], named: bool = True) -> list[_Panel]:
        scenes = [
            PuppetScene(next(who), *next(looks), motion, seed=seed)
            for seed, motion in enumerate(motions)
        ]
        shown = render_batch(scenes)[:, list(SHOWN)]
        labels = motions if named else ["(no name)"] * len(scenes)
        return [_Panel(label, clip) for label, clip in zip(labels, shown, strict=True)]

    return [
        _Section("Kinds", 2 * len(KINDS), alone_and_in_twos),
        _Section("Base motions", _COLUMNS, clips(BASE_MOTIONS)),
        _Section("Held-out motions", _COLUMNS, clips(HELD_OUT_MOTIONS)),
        _Section("Improvised gestures", _COLUMNS, clips([IMPROVISED] * IMPROVISED_CLIPS, False)),
    ]


def _looks() -> Iterator[tuple[str, str]]:
    """Colours and places in turn, each colour meeting every place in the long run."""
    colours, places = tuple(COLOURS), tuple(PLACES)
    for number in itertools.count():
        turn, step = divmod(number, len(colours))
        yield colours[step], places[(step + turn) % len(places)]
