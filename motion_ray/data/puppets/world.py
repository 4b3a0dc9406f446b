"""What can be in a scene of the puppet world, and how a scene is drawn by lot.

The world is a small, fully known domain of video: one or two articulated puppets of a kind and a
colour do a motion somewhere. It stands in for the open domain of the paper, so that the whole
method runs on a laptop with real numbers: base motions are in the base model's training clips and
captions, held-out motions are in neither and are what customization adds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.motions import BASE_MOTIONS, LOWER_MOTIONS, MOTIONS, UPPER_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.errors import DataError

COUNTS = (1, 2)
SPEEDS = {"": 1.0, "slowly": 0.55, "quickly": 1.6}  # motion cycles per clip

PAIR_SHARE = 0.2  # scenes with two puppets
SLOW_SHARE = QUICK_SHARE = 0.1
COMPOSITION_SHARE = 0.25  # upper-body motions that are combined with a lower-body one
SEED_BITS = 30


@dataclass(frozen=True)
class PuppetScene:
    """Everything that decides the pixels of a clip; equal scenes render to equal bits.

    Attributes:
        kind: body plan, one of :data:`KINDS`.
        colour: of the body; of a person, the shirt. One of :data:`COLOURS`.
        place: background, one of :data:`PLACES`, e.g. ``"in the forest"``.
        motion: name in :data:`motion_ray.data.puppets.motions.MOTIONS`.
        count: one puppet or two; two do the same motion a little apart in time.
        speed: ``""``, ``"slowly"`` or ``"quickly"``.
        also: a second motion for the legs ("waving while jumping"), or None.
        seed: of everything a caption does not say: size, position, phase, horizon, decoration.

    Raises:
        DataError: a word that the world does not have.
    """

    kind: str
    colour: str
    place: str
    motion: str
    count: int = 1
    speed: str = ""
    also: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _known("kind", self.kind, KINDS)
        _known("colour", self.colour, tuple(COLOURS))
        _known("place", self.place, tuple(PLACES))
        _known("motion", self.motion, tuple(MOTIONS))
        _known("count", self.count, COUNTS)
        _known("speed", self.speed, tuple(SPEEDS))
        if self.also is not None:
            _known("also", self.also, LOWER_MOTIONS)
            _known("motion (with also)", self.motion, UPPER_MOTIONS)


def _known(field: str, value: object, options: Sequence[object]) -> None:
    if value not in options:
        named = ", ".join(repr(option) for option in options)
        raise DataError(
            f"puppet scene, {field}",
            f"there is no {value!r} in the puppet world",
            f"one of {named}",
        )


def sample_scene(
    rng: random.Random,
    motions: Sequence[str] = BASE_MOTIONS,
    *,
    kind: str | None = None,
    colour: str | None = None,
    place: str | None = None,
    count: int | None = None,
    speed: str | None = None,
    compose: bool = True,
) -> PuppetScene:
    """Draw a scene.

    Args:
        rng: source of all choices; the scene's own seed comes from it too.
        motions: to choose from, with equal chances.
        kind: a fixed kind; None draws one. Likewise the next four.
        colour: a fixed colour.
        place: a fixed place.
        count: a fixed number of puppets.
        speed: a fixed speed; ``""`` is neither slow nor quick.
        compose: whether an upper-body motion may get the legs of a lower-body motion.

    Raises:
        DataError: a word that the world does not have, or no motion to choose from.
    """
    if not motions:
        raise DataError(
            "motions", "name at least one motion to draw scenes of", 'for example ["waving"]'
        )
    motion = rng.choice(motions)
    if count is None:
        count = rng.choices(COUNTS, (1 - PAIR_SHARE, PAIR_SHARE))[0]
    kind = kind or rng.choice(KINDS)
    colour = colour or rng.choice(tuple(COLOURS))
    place = place or rng.choice(tuple(PLACES))
    if speed is None:
        speed = rng.choices(tuple(SPEEDS), (1 - SLOW_SHARE - QUICK_SHARE, SLOW_SHARE, QUICK_SHARE))[
            0
        ]
    combined = compose and motion in UPPER_MOTIONS and rng.random() < COMPOSITION_SHARE
    also = rng.choice(LOWER_MOTIONS) if combined else None
    return PuppetScene(kind, colour, place, motion, count, speed, also, rng.getrandbits(SEED_BITS))
