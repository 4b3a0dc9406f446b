"""Spatial and colour augmentation (paper section 4), one draw for a whole clip.

A draw is a small value; drawing and applying are separate, so that a draw can name a cache entry.
Shape legend: f frames, H/W native pixels, h/w output pixels.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from motion_ray.config import AugmentationConfig


@dataclass(frozen=True)
class AugmentationDraw:
    """What is done to every frame of a clip.

    Attributes:
        top: first row of the crop, native pixels.
        left: first column of the crop, native pixels.
        height: rows of the crop.
        width: columns of the crop.
        flip: mirror left and right.
        brightness: factor, 1 changes nothing.
        contrast: factor, 1 changes nothing.
        saturation: factor, 1 changes nothing.
        hue: turns of the colour wheel, 0 changes nothing.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def plain_draw(frame_hw: tuple[int, int], out_hw: tuple[int, int]) -> AugmentationDraw:
    """The largest centred crop of the output's aspect ratio and nothing else: variant 0."""
    height, width = _largest(frame_hw, out_hw[1] / out_hw[0])
    return AugmentationDraw((frame_hw[0] - height) // 2, (frame_hw[1] - width) // 2, height, width)


def draw_augmentation(
    config: AugmentationConfig,
    frame_hw: tuple[int, int],
    out_hw: tuple[int, int],
    generator: torch.Generator,
) -> AugmentationDraw:
    """Draw once for a clip.

    The crop has the output's aspect ratio times a jitter, log-uniform in ``config.aspect``. Its
    area is uniform in ``config.area``, as a share of the *largest* crop of that aspect ratio: a
    share of the frame could ask for more than a wide frame has at a square output.

    Args:
        config: ranges; ``flip`` must already be what the motion allows.
        frame_hw: H, W.
        out_hw: h, w.
        generator: the only source of randomness; always advanced by the same amount, so that
            changing one range leaves the other draws as they were.
    """
    u = torch.rand(9, dtype=torch.float64, generator=generator).tolist()
    jitter = math.exp(_between(math.log(config.aspect[0]), math.log(config.aspect[1]), u[0]))
    height, width = _largest(frame_hw, out_hw[1] / out_hw[0] * jitter)
    side = math.sqrt(_between(config.area[0], config.area[1], u[1]))
    height, width = max(1, round(height * side)), max(1, round(width * side))
    return AugmentationDraw(
        top=int(u[2] * (frame_hw[0] - height + 1)),
        left=int(u[3] * (frame_hw[1] - width + 1)),
        height=height,
        width=width,
        flip=config.flip and u[4] < 0.5,
        brightness=_between(1 - config.brightness, 1 + config.brightness, u[5]),
        contrast=_between(1 - config.contrast, 1 + config.contrast, u[6]),
        saturation=_between(1 - config.saturation, 1 + config.saturation, u[7]),
        hue=_between(-config.hue, config.hue, u[8]),
    )


def draw_variant(
    config: AugmentationConfig,
    frame_hw: tuple[int, int],
    out_hw: tuple[int, int],
    seed: int,
    content: str,
    variant: int,
) -> AugmentationDraw:
    """The draw of a clip's variant: the same in every run with this seed, whatever its company.

    Args:
        config: ranges.
        frame_hw: H, W.
        out_hw: h, w.
        seed: of the run.
        content: hash of the clip's content, so that renaming a clip changes nothing.
        variant: 0 is plain.
    """
    if variant == 0:
        return plain_draw(frame_hw, out_hw)
    digest = hashlib.sha256(f"{seed}/{content}/{variant}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return draw_augmentation(config, frame_hw, out_hw, generator)


def apply_augmentation(frames: Tensor, draw: AugmentationDraw, height: int, width: int) -> Tensor:
    """Crop, resize with antialiasing, mirror and recolour all frames alike.

    Args:
        frames: uint8 RGB ``[f, 3, H, W]``.
        draw: made for frames of this H and W.
        height: h.
        width: w.

    Returns:
        uint8 ``[f, 3, h, w]``.
    """
    resized = transforms.resized_crop(
        frames, draw.top, draw.left, draw.height, draw.width, [height, width], antialias=True
    )
    if draw.flip:
        resized = transforms.horizontal_flip(resized)
    return _recolour(resized, draw).contiguous()


def _recolour(frames: Tensor, draw: AugmentationDraw) -> Tensor:
    if (draw.brightness, draw.contrast, draw.saturation, draw.hue) == (1.0, 1.0, 1.0, 0.0):
        return frames
    count, _, height, width = frames.shape
    # The clip as one tall picture: contrast turns about the mean grey, and a mean of each frame
    # would make still parts flicker when something bright enters.
    tall = frames.permute(1, 0, 2, 3).reshape(3, count * height, width).float() / 255
    tall = transforms.adjust_brightness(tall, draw.brightness)
    tall = transforms.adjust_contrast(tall, draw.contrast)
    tall = transforms.adjust_saturation(tall, draw.saturation)
    if draw.hue:
        tall = transforms.adjust_hue(tall, draw.hue)
    pixels = (tall * 255).round().clamp(0, 255).byte()
    return pixels.reshape(3, count, height, width).permute(1, 0, 2, 3)


def _largest(frame_hw: tuple[int, int], aspect: float) -> tuple[int, int]:
    """Height and width of the largest rectangle with width / height = ``aspect`` in the frame."""
    height, width = frame_hw
    if width > height * aspect:
        return height, min(width, max(1, round(height * aspect)))
    return min(height, max(1, round(width / aspect))), width


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
