"""Augmentation: one draw for a whole clip, inside the frame, reproducible."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion_ray.config import AugmentationConfig
from motion_ray.data.augment import (
    AugmentationDraw,
    apply_augmentation,
    draw_augmentation,
    draw_variant,
    plain_draw,
)

SIDES = st.integers(16, 400)
STRONG = AugmentationConfig(
    area=(0.3, 1.0), flip=True, brightness=0.4, contrast=0.6, saturation=0.6, hue=0.2
)


def draws(config: AugmentationConfig, count: int, frame=(90, 160), out=(64, 64), seed: int = 0):
    return [draw_variant(config, frame, out, seed, f"clip{i}", 1) for i in range(count)]


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    size = (frames, 3, height, width)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


# --- drawing --------------------------------------------------------------------------------------


@given(height=SIDES, width=SIDES, out_h=SIDES, out_w=SIDES, seed=st.integers(0, 2**31))
def test_crops_lie_inside_and_have_the_shape_they_should(height, width, out_h, out_w, seed):
    config = AugmentationConfig(area=(0.5, 1.0), aspect=(0.8, 1.25))
    generator = torch.Generator().manual_seed(seed)
    draw = draw_augmentation(config, (height, width), (out_h, out_w), generator)
    assert draw.top >= 0 and draw.top + draw.height <= height
    assert draw.left >= 0 and draw.left + draw.width <= width
    # ratios hold up to rounding both sides to whole pixels
    slack = (draw.width + 1) / (draw.height - 1) if draw.height > 1 else float("inf")
    tight = (draw.width - 1) / (draw.height + 1)
    assert slack >= 0.8 * out_w / out_h and tight <= 1.25 * out_w / out_h
    largest = min(height * width, height * height * out_w / out_h * 1.25)
    assert draw.height * draw.width <= largest + height + width


@given(height=SIDES, width=SIDES, out_h=SIDES, out_w=SIDES)
def test_the_plain_crop_is_centred_and_touches_two_sides(height, width, out_h, out_w):
    draw = plain_draw((height, width), (out_h, out_w))
    assert draw.height == height or draw.width == width
    assert abs(2 * draw.top + draw.height - height) <= 1
    assert abs(2 * draw.left + draw.width - width) <= 1
    assert draw == AugmentationDraw(draw.top, draw.left, draw.height, draw.width)


def test_area_is_a_share_of_the_largest_crop_of_that_shape():
    config = AugmentationConfig(area=(0.25, 0.25), aspect=(1.0, 1.0))
    for draw in draws(config, 20, frame=(100, 400), out=(64, 64)):
        assert (draw.height, draw.width) == (50, 50)
    whole = AugmentationConfig(area=(1.0, 1.0), aspect=(1.0, 1.0))
    assert {(d.height, d.top) for d in draws(whole, 20, frame=(100, 400))} == {(100, 0)}


def test_crops_reach_every_position_and_colours_both_sides():
    found = draws(STRONG, 300)
    assert min(d.left for d in found) < 10 and max(d.left + d.width for d in found) > 150
    for name, middle in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        values = torch.tensor([getattr(d, name) for d in found]) - middle
        reach = getattr(STRONG, name)
        assert values.abs().max() <= reach
        assert values.min() < -0.9 * reach and values.max() > 0.9 * reach
        assert abs(float((values > 0).float().mean()) - 0.5) < 0.1
    assert abs(sum(d.flip for d in found) / 300 - 0.5) < 0.1


def test_flips_only_if_allowed():
    assert not any(d.flip for d in draws(STRONG.model_copy(update={"flip": False}), 200))


def test_a_variant_depends_on_seed_content_and_its_number_only():
    def one(seed: int = 0, content: str = "a", variant: int = 3):
        return draw_variant(STRONG, (90, 160), (64, 64), seed, content, variant)

    assert one() == one()
    assert len({one(), one(seed=1), one(content="b"), one(variant=4)}) == 4
    more = STRONG.model_copy(update={"variants": 99})
    assert draw_variant(more, (90, 160), (64, 64), 0, "a", 3) == one()
    assert one(variant=0) == plain_draw((90, 160), (64, 64)) == one(variant=0, seed=9)


def test_changing_one_range_leaves_the_other_draws():
    dull = STRONG.model_copy(update={"brightness": 0.0, "flip": False})
    for a, b in zip(draws(STRONG, 20), draws(dull, 20), strict=True):
        assert (a.top, a.left, a.height, a.width, a.contrast, a.hue) == (
            b.top,
            b.left,
            b.height,
            b.width,
            b.contrast,
            b.hue,
        )
        assert b.brightness == 1 and not b.flip


# --- applying -------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", draws(STRONG, 12), ids=lambda d: f"{d.hue:+.2f}")
def test_a_static_clip_stays_static(draw):
    still = noise(1, 90, 160).expand(5, -1, -1, -1)
    result = apply_augmentation(still, draw, 64, 64)
    assert result.shape == (5, 3, 64, 64) and result.dtype == torch.uint8
    assert torch.equal(result, result[:1].expand(5, -1, -1, -1))


@pytest.mark.parametrize("draw", draws(STRONG, 12), ids=lambda d: f"{d.hue:+.2f}")
def test_colours_change_alike_on_all_frames(draw):
    # The left half stays; something bright crosses the right half, which moves every frame's mean.
    frames = noise(1, 64, 64).repeat(6, 1, 1, 1) // 2 + 40
    for i in range(6):
        frames[i, :, :, 32:] = 40 * i
    whole = AugmentationDraw(
        0, 0, 64, 64, False, draw.brightness, draw.contrast, draw.saturation, draw.hue
    )
    left = apply_augmentation(frames, whole, 64, 64)[..., :32]
    assert torch.equal(left, left[:1].expand(6, -1, -1, -1))
    assert not torch.equal(left[0], frames[0, ..., :32])


@pytest.mark.parametrize("draw", draws(STRONG, 8), ids=lambda d: f"{d.hue:+.2f}")
def test_a_flip_mirrors_exactly(draw):
    frames = noise(3, 90, 160)
    both = [AugmentationDraw(**{**draw.__dict__, "flip": flip}) for flip in (False, True)]
    straight, mirrored = (apply_augmentation(frames, d, 64, 80) for d in both)
    assert torch.equal(mirrored, straight.flip(-1)) and not torch.equal(mirrored, straight)


def test_the_plain_variant_at_native_size_is_the_clip_itself():
    frames = noise(4, 64, 80)
    assert torch.equal(apply_augmentation(frames, plain_draw((64, 80), (64, 80)), 64, 80), frames)
    wide = noise(4, 64, 200)
    cropped = apply_augmentation(wide, plain_draw((64, 200), (64, 64)), 64, 64)
    assert torch.equal(cropped, wide[..., 68:132])


def test_shrinking_averages():
    checks = (torch.arange(128)[:, None] + torch.arange(128)[None]) % 2 * 255
    frames = checks.to(torch.uint8).expand(2, 3, 128, 128)
    small = apply_augmentation(frames, plain_draw((128, 128), (16, 16)), 16, 16)
    assert (small.int() - 127).abs().max() <= 2


def test_each_colour_setting_does_what_it_says():
    def coloured(**change: float) -> torch.Tensor:
        return apply_augmentation(frames, AugmentationDraw(0, 0, 32, 32, **change), 32, 32).float()

    frames = noise(3, 32, 32) // 2 + 30
    plain = coloured()
    assert float(coloured(brightness=1.3).mean() / plain.mean()) == pytest.approx(1.3, rel=0.01)
    assert float(coloured(contrast=0.5).std() / plain.std()) == pytest.approx(0.5, rel=0.05)
    assert float(coloured(contrast=0.5).mean() / plain.mean()) == pytest.approx(1, rel=0.05)
    spread = plain.amax(1) - plain.amin(1)
    grey = coloured(saturation=0.0)
    assert (grey.amax(1) - grey.amin(1)).max() == 0 and spread.max() > 0
    # a third of the wheel turns red, green, blue into green, blue, red
    assert (coloured(hue=1 / 3) - plain.roll(1, 1)).abs().max() <= 2
