"""What the doctor says about clips, captions and V*."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import AugmentationConfig, ClipConfig
from motion_ray.data.augment import apply_augmentation
from motion_ray.data.contact_sheet import write_contact_sheet
from motion_ray.data.inspect import (
    ClipReport,
    inspect_caption,
    inspect_clip,
    inspect_sets,
    inspect_token,
    place_token,
)
from motion_ray.data.latents import variant_draws
from motion_ray.data.video import read_clip, write_video
from motion_ray.types import CaptionedClip, ExampleSet
from tests.data.media import numbered, write_av, write_pictures, write_sound

CONFIG = ClipConfig(frames=8, fps=8, height=32, width=40)
AUGMENTATION = AugmentationConfig(variants=5)


@pytest.fixture(scope="module")
def tokenizer(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def clip(tmp_path) -> CaptionedClip:
    frames = torch.randint(0, 256, (12, 3, 48, 64), dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", frames, 8)
    return CaptionedClip(tmp_path / "a.mp4", "a pll")


def look(clip: CaptionedClip, config: ClipConfig = CONFIG, *, show: bool = False) -> ClipReport:
    return inspect_clip(clip, ExampleSet.MOTION, config, AUGMENTATION, 3, show=show)


def test_the_pictures_are_those_training_sees(clip):
    shown = look(clip, show=True).shown
    assert shown is not None and shown.shape == (3, 4, 3, 32, 40)
    frames = read_clip(clip.path, CONFIG).frames[[0, 2, 5, 7]]
    for draw, variant in zip(variant_draws(clip, CONFIG, AUGMENTATION, 3), shown, strict=False):
        assert torch.equal(variant, apply_augmentation(frames, draw, 32, 40))


def test_large_clips_are_shown_small(clip):
    shown = look(clip, CONFIG.model_copy(update={"height": 192, "width": 288}), show=True).shown
    assert shown is not None and shown.shape == (3, 4, 3, 96, 144)


def test_a_good_clip_has_no_findings(clip):
    report = look(clip)
    assert report.findings == () and report.shown is None
    assert report.info is not None and report.info.frames == 12
    assert report.size == clip.path.stat().st_size


def test_a_clip_that_cannot_be_used_is_fatal(tmp_path):
    report = look(CaptionedClip(write_sound(tmp_path / "a.mp4"), ""))
    [finding] = report.findings
    assert finding.fatal and "holds only sound" in finding.text and report.info is None


def test_damage_that_only_decoding_finds(clip):
    data = bytearray(clip.path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 4000] = bytes(4000)
    clip.path.write_bytes(data)
    [finding] = look(clip).findings
    assert finding.fatal and "is damaged" in finding.text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fps": 24.0}, "has 8 fps, sampled at 24: frames repeat"),
        ({"frames": 4}, "only the middle 0.5 s of 1.5 s are used"),
        ({"height": 96, "width": 128}, "is 64 x 48 pixels, enlarged 2.0 times"),
    ],
)
def test_odd_but_allowed(clip, change, text):
    findings = look(clip, CONFIG.model_copy(update=change)).findings
    assert any(text in finding.text and not finding.fatal for finding in findings)


@pytest.mark.parametrize(("aspect", "fault"), [(2, "2"), (Fraction(1, 2), "0.5"), (1, None)])
def test_pixels_that_are_not_square_are_told(tmp_path, aspect, fault):
    path = write_av(tmp_path / "dv.mp4", numbered(12), range(12), Fraction(8), aspect=aspect)
    found = look(CaptionedClip(path, "a pll")).findings
    assert not any(finding.fatal for finding in found)
    if fault is None:
        assert found == ()
    else:
        [finding] = found
        assert f"pixels are {fault} times as wide as high" in finding.text
        assert "scale=trunc(iw*sar/2)*2:ih" in finding.text


def test_a_folder_of_pictures_counts_its_bytes(tmp_path):
    path = write_pictures(tmp_path / "1", numbered(12))
    report = look(CaptionedClip(path, "", frame_fps=8))
    assert report.size == sum(file.stat().st_size for file in path.iterdir())
    assert report.findings == ()


def test_few_clips_and_copies(clip, tmp_path):
    copy = tmp_path / "b.mp4"
    copy.write_bytes(clip.path.read_bytes())
    write_video(tmp_path / "c.mp4", numbered(12), 8)
    members = [
        (ExampleSet.MOTION, clip),
        (ExampleSet.MOTION, CaptionedClip(tmp_path / "c.mp4", "")),
        (ExampleSet.REGULARIZATION, CaptionedClip(copy, "")),
        (ExampleSet.REGULARIZATION, CaptionedClip(tmp_path / "none.mp4", "")),
    ]
    texts = [finding.text for finding in inspect_sets(members)]
    assert len(texts) == 2
    assert texts[0] == f"{copy}: the same content as {clip.path}" and "2 motion clips" in texts[1]


# --- V* -------------------------------------------------------------------------------------------


def test_the_token_is_found_where_it_stands(tokenizer):
    # this vocabulary has letters, pll and sks: a=1, c=2 a=3 t=4
    placement = place_token(tokenizer, "a cat pll", "pll")
    assert (placement.pieces, placement.positions) == (1, (5,))
    assert (placement.length, placement.limit) == (7, tokenizer.max_tokens)
    assert place_token(tokenizer, "a CAT PLL", "pll").positions == (5,)
    assert place_token(tokenizer, "a zq", "zq").positions == (2, 3)
    assert place_token(tokenizer, "a cat", "pll").positions == ()


def test_tokens_that_the_tokenizer_splits_or_lacks(tokenizer):
    assert inspect_token(tokenizer, "pll", trains=True) == []
    [split] = inspect_token(tokenizer, "zq", trains=False)
    assert "splits it into 2 pieces" in split.text and not split.fatal
    assert inspect_token(tokenizer, "zq", trains=True)[0].fatal
    [unknown] = inspect_token(tokenizer, "v*", trains=False)
    assert "does not know" in unknown.text and unknown.fatal


def test_captions_that_are_too_long(tokenizer):
    def findings(caption: str, source: ExampleSet = ExampleSet.MOTION):
        clip = CaptionedClip(Path("a.mp4"), caption)
        return inspect_caption(clip, source, place_token(tokenizer, caption, "pll"))

    limit = tokenizer.max_tokens
    long = " ".join("a" * limit)  # a token each
    assert findings("a pll") == []
    [end] = findings(f"pll {long}")
    assert f"has {limit + 3} tokens, the text encoder reads {limit}" in end.text and not end.fatal
    [gone] = findings(f"{long} pll")
    assert "the token is cut off" in gone.text and gone.fatal
    [plain] = findings(long, ExampleSet.REGULARIZATION)
    assert not plain.fatal


# --- contact sheet --------------------------------------------------------------------------------


def test_the_contact_sheet_shows_every_picture_in_its_place(clip, tmp_path):
    reports = [look(clip, show=True), look(clip), look(clip, show=True)]
    assert write_contact_sheet(tmp_path / "out" / "sheet.png", reports) == 2
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8)
        pixels = pixels.reshape(sheet.height, sheet.width, 3).permute(2, 0, 1)
    shown = reports[0].shown
    assert shown is not None
    for top in (28, 28 + 32 + 12):
        for variant in range(3):
            for frame in range(4):
                left = 230 + variant * (4 * 40 + 12) + frame * 40
                found = pixels[:, top : top + 32, left : left + 40]
                assert torch.equal(found, shown[variant, frame])


def test_without_pictures_there_is_no_sheet(clip, tmp_path):
    assert write_contact_sheet(tmp_path / "sheet.png", [look(clip)]) == 0
    assert not (tmp_path / "sheet.png").exists()
