"""The picture of the whole world: every motion is on it, drawn as the renderer draws it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from motion_ray.data.puppets import sheet
from motion_ray.data.puppets.__main__ import main
from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS, IMPROVISED
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.sheet import IMPROVISED_CLIPS, SHOWN, draw_sheet, write_sheet
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import DataError


def as_tensor(picture: Image.Image) -> Tensor:
    data = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return data.reshape(picture.height, picture.width, 3).permute(2, 0, 1)


def test_every_kind_and_motion_is_drawn_once_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PuppetScene] = []
    clips: list[Tensor] = []

    def watched(scenes: list[PuppetScene]) -> Tensor:
        drawn = render_batch(scenes)
        asked.extend(scenes)
        clips.extend(drawn)
        return drawn

    monkeypatch.setattr(sheet, "render_batch", watched)
    pixels = as_tensor(draw_sheet())
    kinds, moving = asked[: 2 * len(KINDS)], asked[2 * len(KINDS) :]
    assert {(scene.kind, scene.count) for scene in kinds} == {(k, c) for k in KINDS for c in (1, 2)}
    motions = [scene.motion for scene in moving]
    assert motions == [*BASE_MOTIONS, *HELD_OUT_MOTIONS, *[IMPROVISED] * IMPROVISED_CLIPS]
    assert {scene.kind for scene in moving} == set(KINDS)
    for clip in clips[2 * len(KINDS) :]:
        strip = torch.cat(list(clip[list(SHOWN)]), -1)
        assert contains(pixels, strip)


def contains(picture: Tensor, part: Tensor) -> bool:
    """Whether a part ``[3, h, w]`` is somewhere in the picture, bit for bit."""
    whole, wanted = one_number_a_pixel(picture), one_number_a_pixel(part)
    (rows, columns), (height, width) = whole.shape, wanted.shape
    possible = torch.ones(rows - height + 1, columns - width + 1, dtype=torch.bool)
    # A few pixels rule out nearly every place; what is left is compared whole.
    for y in range(0, height, 21):
        for x in range(0, width, 85):
            there = whole[y : y + possible.shape[0], x : x + possible.shape[1]]
            possible &= there == wanted[y, x]
    return any(
        torch.equal(whole[y : y + height, x : x + width], wanted) for y, x in possible.nonzero()
    )


def one_number_a_pixel(picture: Tensor) -> Tensor:
    red, green, blue = picture.int()
    return (red << 16) + (green << 8) + blue


def test_the_file_is_small_and_close_to_what_was_drawn(tmp_path: Path) -> None:
    write_sheet(tmp_path / "new" / "puppets.png")
    assert (tmp_path / "new" / "puppets.png").stat().st_size < 150_000
    with Image.open(tmp_path / "new" / "puppets.png") as written:
        difference = as_tensor(written).float() - as_tensor(draw_sheet()).float()
    assert difference.abs().mean() < 3.0


def test_the_command_draws_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sheet", str(tmp_path / "a.png")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert "a.png" in capsys.readouterr().out


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PNG"):
        write_sheet(tmp_path / "puppets.jpg")
    assert not list(tmp_path.iterdir())
