"""How good an image-text model of the puppet world is, and whether it notices what is wrong.

Shapes: n frames (one scene each), s picture side.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.clip_data import blurred, with_noise

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "colour": tuple(COLOURS),
    "place": tuple(PLACES),
}
BLURS = (0.5, 1.0, 2.0, 4.0)  # pixels
NOISES = (0.05, 0.1, 0.2, 0.4)  # of the full range
WRONGS = (("kind",), ("colour",), ("place",), ("kind", "colour"), ("kind", "colour", "place"))


@dataclass(frozen=True)
class ClipScores:
    """Mean cosines unless said otherwise.

    Attributes:
        accuracy: share of frames whose right option beats all others, by attribute.
        right: with the phrase that is true.
        wrong: by which attributes of the phrase are false, joined with ``+``.
        blur: by sigma in pixels.
        noise: by strength.
        shuffled: with the phrase of another scene.
        grey: of a plain grey picture.
    """

    accuracy: dict[str, float]
    right: float
    wrong: dict[str, float]
    blur: dict[float, float]
    noise: dict[float, float]
    shuffled: float
    grey: float


def score_encoder(
    encoder: OpenClipEncoder, frames: Tensor, scenes: Sequence[PuppetScene]
) -> ClipScores:
    """Score an encoder on frames, uint8 ``[n, 3, s, s]``, of scenes it has not seen."""
    phrases = [appearance_phrase(scene) for scene in scenes]
    score = _scorer(encoder, phrases)
    generator = torch.Generator().manual_seed(0)
    rng = random.Random(0)
    wrong = {
        "+".join(names): [_falsified(scene, names, rng) for scene in scenes] for names in WRONGS
    }
    image = encoder.encode_frames(frames)
    return ClipScores(
        accuracy={name: accuracy(encoder, frames, scenes, name) for name in OPTIONS},
        right=score(frames),
        wrong={
            names: float((image * encoder.encode_texts(texts)).sum(1).mean())
            for names, texts in wrong.items()
        },
        blur={sigma: score(blurred(frames, sigma)) for sigma in BLURS},
        noise={level: score(with_noise(frames, level, generator)) for level in NOISES},
        shuffled=float((image * encoder.encode_texts([*phrases[1:], phrases[0]])).sum(1).mean()),
        grey=score(torch.full_like(frames, 128)),
    )


def accuracy(
    encoder: OpenClipEncoder, frames: Tensor, scenes: Sequence[PuppetScene], attribute: str
) -> float:
    """Zero-shot: how often the phrase with the right option has the highest cosine of all options.

    Args:
        encoder: the model.
        frames: uint8 ``[n, 3, s, s]``, one of each scene.
        scenes: what the frames show.
        attribute: ``"kind"``, ``"colour"`` or ``"place"``; the rest of the phrase is right.
    """
    options = OPTIONS[attribute]
    texts = [
        appearance_phrase(replace(scene, **{attribute: option}))
        for scene in scenes
        for option in options
    ]
    text = encoder.encode_texts(texts).unflatten(0, (len(scenes), len(options)))
    cosines = torch.einsum("ne,noe->no", encoder.encode_frames(frames), text)
    right = torch.tensor([options.index(getattr(scene, attribute)) for scene in scenes])
    return float((cosines.argmax(1) == right).float().mean())


def _scorer(encoder: OpenClipEncoder, phrases: Sequence[str]) -> Callable[[Tensor], float]:
    text = encoder.encode_texts(phrases)
    return lambda frames: float((encoder.encode_frames(frames) * text).sum(1).mean())


def _falsified(scene: PuppetScene, names: Sequence[str], rng: random.Random) -> str:
    """The scene's phrase with the named attributes replaced by others."""
    others = {
        name: rng.choice([o for o in OPTIONS[name] if o != getattr(scene, name)]) for name in names
    }
    return appearance_phrase(replace(scene, **others))
