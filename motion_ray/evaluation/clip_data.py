"""What the embedded image-text model is trained on: frames of the puppet world, described.

A description leaves attributes out, so many are true of one frame and one is true of many frames:
"a robot" fits every robot. :func:`true_pairs` says which, so that training never pushes apart a
frame and a text that fit.

Shapes: n frames, m texts, s picture side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures

from motion_ray.backbones.base import Backbone
from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import VAGUE_MOTIONS, motion_words, plural, subject
from motion_ray.data.puppets.motions import MOTIONS, NAMED_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import FRAMES, render_batch
from motion_ray.data.puppets.world import SPEEDS, PuppetScene, sample_scene
from motion_ray.precision import compute_context

# Chances that a description names a thing; appearance phrases (no motion) are what is scored most.
NAME_COLOUR, NAME_PLACE, NAME_MOTION, NAME_SPEED = 0.8, 0.75, 0.3, 0.3
VAGUE_MOTION, USE_IS, STRANGE_WORD = 0.15, 0.2, 0.15
STRANGE = (
    "pll"  # stands for every word that the model does not know; the tokenizer maps them to one id
)

SCENES_AT_ONCE = 64
RoundTrip = Callable[[Tensor], Tensor]  # uint8 [n, 3, s, s] through a VAE and back


@dataclass(frozen=True)
class Description:
    """A text and what it claims; None claims nothing about that attribute."""

    text: str
    count: int
    kind: str
    colour: str | None
    place: str | None
    motion: str | None


def describe(scene: PuppetScene, rng: random.Random) -> Description:
    """A scene in words, some left out: ``"a robot"``, ``"a blue person waving at night"``.

    A gesture without a name is never claimed, only called vague things that are true of any motion.
    """
    colour = rng.random() < NAME_COLOUR
    place = rng.random() < NAME_PLACE
    motion = motion_words(scene) if rng.random() < NAME_MOTION else None
    words = [subject(scene, colour=colour)]
    if motion is not None:
        if scene.count == 1 and rng.random() < USE_IS:
            words.append("is")
        words.append(motion)
        if scene.speed and rng.random() < NAME_SPEED:
            words.append(scene.speed)
    elif rng.random() < VAGUE_MOTION:
        words.append(rng.choice(VAGUE_MOTIONS))
    if place:
        words.append(scene.place)
    text = " ".join(words)
    if rng.random() < STRANGE_WORD:
        split = text.split()
        split.insert(rng.randrange(len(split) + 1), STRANGE)
        text = " ".join(split)
    return Description(
        text,
        scene.count,
        scene.kind,
        scene.colour if colour else None,
        scene.place if place else None,
        motion,
    )


def true_pairs(scenes: Sequence[PuppetScene], descriptions: Sequence[Description]) -> Tensor:
    """Which description is true of which scene, bool ``[n, m]``."""
    return torch.tensor(
        [[_is_true(scene, description) for description in descriptions] for scene in scenes]
    )


def _is_true(scene: PuppetScene, said: Description) -> bool:
    return (
        said.kind == scene.kind
        and said.count == scene.count
        and said.colour in (None, scene.colour)
        and said.place in (None, scene.place)
        and said.motion in (None, motion_words(scene))
    )


def known_words() -> list[str]:
    """Every word of the world's captions, in a fixed order."""
    nouns = [*KINDS, *map(plural, KINDS), "two", "a", "an", "is", "while"]
    phrases = [*nouns, *COLOURS, *PLACES, *NAMED_MOTIONS, *SPEEDS, *VAGUE_MOTIONS]
    words = " ".join([*phrases, "doing the motion dance and with of to in on at"]).split()
    return list(dict.fromkeys(words))


def draw_scenes(count: int, stream: str, split: str = "train") -> list[PuppetScene]:
    """Scenes of all motions, held-out and improvised ones too: nothing a customized model may draw
    must look strange to CLIP.
    """
    rng = random.Random(stream)
    return [sample_scene(rng, tuple(MOTIONS), split=split) for _ in range(count)]


def draw_frames(scenes: Sequence[PuppetScene], per_scene: int, stream: str) -> Iterator[Tensor]:
    """Random frames of every scene, uint8 ``[n, 3, s, s]`` in parts, scene by scene."""
    rng = random.Random(stream)
    for at in range(0, len(scenes), SCENES_AT_ONCE):
        part = scenes[at : at + SCENES_AT_ONCE]
        chosen = torch.tensor([rng.sample(range(FRAMES), per_scene) for _ in part])
        drawn = render_batch(part)
        yield drawn[torch.arange(len(part))[:, None], chosen].flatten(0, 1)


def vae_round_trip(
    backbone: Backbone, noise: float, seed: int, precision: str = "auto"
) -> RoundTrip:
    """Frames as a generator would draw them: through the VAE, with a little noise on the latents.

    Args:
        backbone: whose VAE.
        noise: largest standard deviation of that noise; each frame draws its own below it.
        seed: of the noise.
        precision: of the VAE, see :func:`~motion_ray.precision.resolve_precision`.
    """
    generator = torch.Generator().manual_seed(seed)

    def round_trip(frames: Tensor) -> Tensor:
        with compute_context(precision, backbone.device):
            mean = backbone.encode_video(frames).mean  # [c, n, h, w]: frames do not meet in the VAE
            strength = noise * torch.rand(1, mean.shape[1], 1, 1, generator=generator)
            latents = mean + strength * torch.randn(mean.shape, generator=generator)
            return backbone.decode_latents(latents[None])[0]

    return round_trip


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of frames ``[n, 3, s, s]``; sigma in pixels."""
    return pictures.gaussian_blur(frames, [2 * int(3 * sigma + 0.5) + 1] * 2, [sigma] * 2)


def with_noise(frames: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian pixel noise on uint8 frames; strength in 0..1 of the full range."""
    noise = torch.randn(frames.shape, generator=generator) * (255 * strength)
    return (frames + noise).clamp(0, 255).round().byte()
