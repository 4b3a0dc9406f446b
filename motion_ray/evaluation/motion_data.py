"""What the embedded motion classifier is trained and tested on: clips of all named motions.

Held-out motions are held out of the base model, not of the classifier, which is there to recognise
them. A combination ("waving while jumping") counts as its upper motion. Shapes: n clips, f frames,
s picture side.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures

from motion_ray.data.puppets.motions import MIRRORED_MOTIONS, NAMED_MOTIONS
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene, sample_scene
from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.evaluation.disturb import shifted, uniform

CLIPS_AT_ONCE = 32
WIDEST_SHIFT = 4  # pixels
BLUR_SHARE, BLUR = 0.25, (0.3, 0.9)  # of clips; sigma in pixels
BRIGHTER, LIGHTER, NOISE = (0.85, 1.15), 0.08, 0.05  # factor; offset and noise in 0..1 of the range


def motion_scenes(count: int, stream: str, split: str = "train") -> list[PuppetScene]:
    """Scenes of all named motions with equal chances: kinds, speeds, one and two, combinations."""
    rng = random.Random(stream)
    return [sample_scene(rng, NAMED_MOTIONS, split=split) for _ in range(count)]


def labels_of(scenes: Sequence[PuppetScene]) -> Tensor:
    """The class of each scene, int64 ``[n]``, in the order of ``NAMED_MOTIONS``."""
    return torch.tensor([NAMED_MOTIONS.index(scene.motion) for scene in scenes])


def is_simple(scene: PuppetScene) -> bool:
    """One puppet that does one thing at normal speed, as base models are scored on."""
    return (scene.count, scene.speed, scene.also) == (1, "", None)


def draw_clips(scenes: Sequence[PuppetScene]) -> Iterator[Tensor]:
    """Clips, uint8 ``[n, f, 3, s, s]`` in parts."""
    for at in range(0, len(scenes), CLIPS_AT_ONCE):
        yield render_batch(scenes[at : at + CLIPS_AT_ONCE])


def softened(clips: Tensor, round_trip: RoundTrip) -> Tensor:
    """Clips ``[n, f, 3, s, s]`` through a VAE and back."""
    return round_trip(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])


def disturbed(clips: Tensor, scenes: Sequence[PuppetScene], generator: torch.Generator) -> Tensor:
    """Clips with their class kept, float32 ``[n, f, 3, s, s]`` in 0..255, rounded as a file would.

    Mirrored where the mirror image is the same motion; moved by some pixels, blurred, lighter or
    darker, noisy: what a generated video may be without being another motion.
    """
    count, frames = clips.shape[:2]
    # All frames of a clip get the same: they lie beside each other as channels.
    images = clips.flatten(1, 2).float() / 255
    may = torch.tensor([_may_be_mirrored(scene) for scene in scenes])[:, None, None, None]
    mirrored = may & (uniform(count, 0, 1, generator) < 0.5)
    images = torch.where(mirrored, images.flip(-1), images)
    images = shifted(images, WIDEST_SHIFT, generator)
    soft = uniform(count, 0, 1, generator) < BLUR_SHARE
    sigma = float(uniform(1, *BLUR, generator))
    images = torch.where(soft, pictures.gaussian_blur(images, [7, 7], [sigma] * 2), images)
    images = images * uniform(count, *BRIGHTER, generator)
    images = images + uniform(count, -LIGHTER, LIGHTER, generator)
    noise = torch.randn(images.shape, generator=generator) * uniform(count, 0, NOISE, generator)
    images = (images + noise).clamp(0, 1) * 255
    return images.round().unflatten(1, (frames, 3))


def _may_be_mirrored(scene: PuppetScene) -> bool:
    return {scene.motion, scene.also or scene.motion} <= MIRRORED_MOTIONS


def out_of_order(clips: Tensor, generator: torch.Generator) -> Tensor:
    """The frames of each clip ``[n, f, 3, s, s]`` in an order of its own."""
    order = torch.rand(clips.shape[:2], generator=generator).argsort(1)
    return clips[torch.arange(len(clips))[:, None], order]
