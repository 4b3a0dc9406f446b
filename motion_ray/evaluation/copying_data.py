"""What the embedded copy detector learns from: look-alike frames, and what copies undergo.

A group shows the same kind, colour, place and motion, and of each clip the frame that looks most
like the group's first one; only the seed differs, that is size, position, strength and background.
Such frames are what a model that learned the motion well draws by itself, and they must not pass
for copies of each other. Shapes: n frames, f frames of a clip, s picture side.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as pictures

from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.data.puppets.world import SEED_BITS, SPLITS, PuppetScene, sample_scene
from motion_ray.evaluation.disturb import uniform

GROUP = 4  # scenes that look alike
# Milder than SSCD's own: of 64 pixels a half shows no more whose frame it is.
AREA, RATIO = (0.8, 1.0), (0.93, 1.07)  # of a crop: share of the picture, width over height
MIRRORED, BLURRED, COMPRESSED = 0.2, 0.4, 0.3  # shares of frames
BLUR, QUALITY, NOISE = (0.3, 1.5), (30, 95), 0.05  # sigma in pixels; of JPEG; in 0..1 of the range
CONTRAST, BRIGHTNESS, TINT = (0.8, 1.2), 0.1, (0.9, 1.1)

Change = Callable[[Tensor], Tensor]  # uint8 [n, 3, s, s] to the same


def alike(scene: PuppetScene, rng: random.Random, split: str = "train") -> PuppetScene:
    """A scene with the same words and another seed."""
    return replace(scene, seed=SPLITS.index(split) << SEED_BITS | rng.getrandbits(SEED_BITS))


def group_scenes(groups: int, stream: str) -> list[PuppetScene]:
    """Groups of look-alike training scenes, one group after the other."""
    rng = random.Random(stream)
    firsts = [sample_scene(rng, NAMED_MOTIONS) for _ in range(groups)]
    return [
        scene if number == 0 else alike(scene, rng) for scene in firsts for number in range(GROUP)
    ]


def most_alike(clips: Tensor, generator: torch.Generator) -> Tensor:
    """One frame of each clip of a group, so that they look as alike as they can.

    Args:
        clips: uint8 ``[GROUP, f, 3, s, s]``.
        generator: draws the frame of the first clip.

    Returns:
        uint8 ``[GROUP, 3, s, s]``: a frame of the first clip, and of each other clip the one with
        the least squared distance to it.
    """
    first = clips[0, int(torch.randint(clips.shape[1], (), generator=generator))]
    apart = (clips[1:].float() - first.float()).square().mean((2, 3, 4))
    others = clips[1:][torch.arange(len(clips) - 1), apart.argmin(1)]
    return torch.cat([first[None], others])


def copied(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Frames, uint8, as somebody might copy them: float32 ``[n, 3, s, s]`` in 0..1.

    Cropped, mirrored, blurred, compressed, of other colours, noisy; each frame in its own way but
    for strength of blur and compression, which the frames that undergo them share.
    """
    count = len(frames)
    images = _cropped(frames.float() / 255, generator)
    mirrored = uniform(count, 0, 1, generator) < MIRRORED
    images = torch.where(mirrored, images.flip(-1), images)
    soft = uniform(count, 0, 1, generator) < BLURRED
    sigma = float(uniform(1, *BLUR, generator))
    images = torch.where(soft, pictures.gaussian_blur(images, [13, 13], [sigma] * 2), images)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(count, *CONTRAST, generator) + mean
    images = images + uniform(count, -BRIGHTNESS, BRIGHTNESS, generator)
    low, high = TINT
    images = images * (low + (high - low) * torch.rand(count, 3, 1, 1, generator=generator))
    images = images.clamp(0, 1)
    packed = (uniform(count, 0, 1, generator) < COMPRESSED).flatten()
    quality = int(torch.randint(QUALITY[0], QUALITY[1], (), generator=generator))
    if packed.any():
        images[packed] = compressed((images[packed] * 255).byte(), quality).float() / 255
    noise = torch.randn(images.shape, generator=generator) * uniform(count, 0, NOISE, generator)
    return (images + noise).clamp(0, 1)


def compressed(frames: Tensor, quality: int) -> Tensor:
    """Uint8 frames ``[n, 3, s, s]`` through JPEG and back."""
    decoded = []
    for picture in frames.permute(0, 2, 3, 1).contiguous().numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            decoded.append(torch.from_numpy(np.array(opened.convert("RGB"))))
    return torch.stack(decoded).permute(0, 3, 1, 2).contiguous()


def _cropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """A part of each picture ``[n, 3, s, s]``, enlarged to the whole."""
    count = len(images)
    area = uniform(count, *AREA, generator).flatten()
    ratio = uniform(count, *RATIO, generator).flatten()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    at = 2 * torch.rand(count, 2, generator=generator) - 1
    zero = torch.zeros_like(width)
    # In grid coordinates the picture reaches from -1 to 1.
    rows = (width, zero, at[:, 0] * (1 - width)), (zero, height, at[:, 1] * (1 - height))
    matrix = torch.stack([torch.stack(row, -1) for row in rows], 1)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def crop_to(area: float) -> Change:
    """The middle of a frame with this share of its area, enlarged to the whole."""

    def change(frames: Tensor) -> Tensor:
        side = frames.shape[-1]
        kept = round(side * area**0.5)
        middle = pictures.center_crop(frames, [kept, kept])
        return pictures.resize(middle, [side, side], antialias=True)

    return change


#: What recall is told for; a copy that only the generator's own VAE has touched comes first.
KNOWN_CHANGES: Mapping[str, Change] = {
    "JPEG, quality 50": lambda frames: compressed(frames, 50),
    "JPEG, quality 20": lambda frames: compressed(frames, 20),
    "blur, sigma 1 pixel": lambda frames: pictures.gaussian_blur(frames, [7, 7], [1.0, 1.0]),
    "blur, sigma 2 pixels": lambda frames: pictures.gaussian_blur(frames, [13, 13], [2.0, 2.0]),
    "brighter by a fifth": lambda frames: pictures.adjust_brightness(frames, 1.2),
    "contrast less by a fifth": lambda frames: pictures.adjust_contrast(frames, 0.8),
    "hue turned by 20 degrees": lambda frames: pictures.adjust_hue(frames, 20 / 360),
    "crop to 90 % of the area": crop_to(0.9),
    "crop to 70 % of the area": crop_to(0.7),
    "crop to 50 % of the area": crop_to(0.5),
    "moved by 4 pixels": lambda frames: frames.roll((4, 4), (-2, -1)),
    "mirrored": lambda frames: frames.flip(-1),
}
