"""What can be in a scene of the puppet world, and how a scene is drawn by lot.

The world is a small, fully known domain of video: one or two articulated puppets of a kind and a
colour do a motion somewhere. It stands in for the open domain of the paper, so that the whole
method runs on a laptop with real numbers. Base motions are in the base model's training clips and
captions; improvised gestures are in the clips but have no name in a caption; held-out motions are
in neither and are what customization adds.

What is drawn for a scene, and which scenes a random generator gives, is fixed by the shipped base
model: a change here or in any module beside it means training that model anew.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.motions import (
    BASE_MOTIONS,
    COMBINABLE_MOTIONS,
    IMPROVISED,
    LOWER_MOTIONS,
    MOTIONS,
    UPPER_MOTIONS,
)
from motion_ray.data.puppets.places import PLACES
from motion_ray.errors import DataError

COUNTS = (1, 2)
SPEEDS = {"": 1.0, "slowly": 0.55, "quickly": 1.6}  # motion cycles per clip

PAIR_SHARE = 0.12  # scenes with two puppets
SLOW_SHARE = QUICK_SHARE = 0.1
COMPOSITION_SHARE = 0.2  # upper-body motions that are combined with a lower-body one
IMPROVISED_SHARE = 0.25  # of pretraining scenes; the rest have a base motion
# A split has its own combinations of kind, colour and place (one in ten is kept for validation,
# one for the test) and its own range of 2**28 seeds; small seeds, as one writes them by hand, are
# in that of training. Within a split seeds may collide: of n scenes, one has the seed of another
# with a chance of about n in 2**28, and is equal to it only if all its words are the same too.
SPLITS = ("train", "validation", "test")
KEPT_ONE_IN = 10
SEED_BITS = 28


@dataclass(frozen=True)
class PuppetScene:
    """Everything that decides the pixels of a clip; equal scenes render to equal bits.

    Attributes:
        kind: body plan, one of :data:`KINDS`.
        colour: of the body; of a person, the shirt. One of :data:`COLOURS`.
        place: background, one of :data:`PLACES`, e.g. ``"in the forest"``.
        motion: name in :data:`motion_ray.data.puppets.motions.MOTIONS`; every scene of the
            improvised one shows a gesture of its own.
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
            _known("motion (with also)", self.motion, COMBINABLE_MOTIONS)


def _known(field: str, value: object, options: Sequence[object]) -> None:
    if value not in options:
        named = ", ".join(repr(option) for option in options)
        raise DataError(
            f"puppet scene, {field}",
            f"there is no {value!r} in the puppet world",
            f"one of {named}",
        )


@cache
def split_of(kind: str, colour: str, place: str) -> str:
    """The split that a combination of attributes belongs to, one of :data:`SPLITS`.

    Every kind, colour and place occurs in every split; only their combination is new.

    Raises:
        DataError: a word that the world does not have.
    """
    _known("kind", kind, KINDS)
    _known("colour", colour, tuple(COLOURS))
    _known("place", place, tuple(PLACES))
    number = (
        2 * KINDS.index(kind) + tuple(COLOURS).index(colour) + 3 * tuple(PLACES).index(place)
    ) % KEPT_ONE_IN
    return {0: "validation", 5: "test"}.get(number, "train")


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
    split: str = "train",
) -> PuppetScene:
    """Draw a scene.

    Args:
        rng: source of all choices; the scene's own seed comes from it too.
        motions: to choose from, with equal chances.
        kind: a fixed kind; None draws one, as it does for the next four.
        colour: a fixed colour.
        place: a fixed place.
        count: a fixed number of puppets.
        speed: a fixed speed; ``""`` is neither slow nor quick.
        compose: whether an upper-body motion may get the legs of a lower-body motion.
        split: one of :data:`SPLITS`. Its combinations of kind, colour and place and its seeds occur
            in no other split; what is fixed above wins over what a split would choose.

    Raises:
        DataError: a word that the world does not have, or no motion to choose from.
    """
    _known("split", split, SPLITS)
    if not motions:
        raise DataError(
            "motions", "name at least one motion to draw scenes of", 'for example ["waving"]'
        )
    motion = rng.choice(motions)
    if count is None:
        count = rng.choices(COUNTS, (1 - PAIR_SHARE, PAIR_SHARE))[0]
    kind, colour, place = _looks(rng, kind, colour, place, split)
    if speed is None:
        speed = rng.choices(tuple(SPEEDS), (1 - SLOW_SHARE - QUICK_SHARE, SLOW_SHARE, QUICK_SHARE))[
            0
        ]
    combined = compose and motion in UPPER_MOTIONS and rng.random() < COMPOSITION_SHARE
    also = rng.choice(LOWER_MOTIONS) if combined else None
    seed = SPLITS.index(split) << SEED_BITS | rng.getrandbits(SEED_BITS)
    return PuppetScene(kind, colour, place, motion, count, speed, also, seed)


def pretraining_scene(rng: random.Random, split: str = "train") -> PuppetScene:
    """Draw a scene that the base model may see: a base motion, or an improvised gesture.

    Raises:
        DataError: an unknown split.
    """
    improvised = rng.random() < IMPROVISED_SHARE
    return sample_scene(rng, (IMPROVISED,) if improvised else BASE_MOTIONS, split=split)


def _looks(
    rng: random.Random, kind: str | None, colour: str | None, place: str | None, split: str
) -> tuple[str, str, str]:
    """Kind, colour and place by lot among those of the split that fit what is fixed, if any do."""
    fitting = list(
        itertools.product(
            _allowed("kind", kind, KINDS),
            _allowed("colour", colour, tuple(COLOURS)),
            _allowed("place", place, tuple(PLACES)),
        )
    )
    own = [looks for looks in fitting if split_of(*looks) == split]
    return rng.choice(own or fitting)


def _allowed(field: str, fixed: str | None, options: Sequence[str]) -> Sequence[str]:
    if fixed is None:
        return options
    _known(field, fixed, options)
    return (fixed,)
