"""What people would write under a clip of the puppet world: every word is true of the scene.

An improvised gesture has no name, so that no text ever names it: it is "doing something", or "doing
the sks" with a word made up for once. So the base model has met such words, in no fixed meaning,
before one of them comes to stand for a motion.
"""

from __future__ import annotations

import random

from motion_ray.data.puppets.motions import IMPROVISED
from motion_ray.data.puppets.world import PuppetScene

# Chances that a caption of many mentions a thing, as people leave things out.
NAME_COLOUR, NAME_SPEED, NAME_PLACE = 0.85, 0.9, 0.85
VAGUE_MOTION = 0.12
USE_IS = 0.2
VAGUE_MOTIONS = ("doing other things", "doing something", "doing a gesture")
#: Words that mean nothing; any of them can become V*.
RARE_WORDS = ("sks", "pll", "ukj", "olis", "cips", "dgx", "vqz", "zwx")
RARE_WORD = 0.5  # of the vague captions that are given a random description


def plural(kind: str) -> str:
    """``"robots"``, ``"people"``."""
    return "people" if kind == "person" else f"{kind}s"


def with_article(words: str) -> str:
    """``"a red robot"``, ``"an alien"``."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def subject(scene: PuppetScene, colour: bool = True) -> str:
    """The noun phrase: ``"a red robot"``, ``"two blue people"``, ``"an alien"``."""
    noun = scene.kind if scene.count == 1 else plural(scene.kind)
    words = f"{scene.colour} {noun}" if colour else noun
    return with_article(words) if scene.count == 1 else f"two {words}"


def motion_words(scene: PuppetScene) -> str | None:
    """``"waving"``, or ``"waving while jumping"``; None for a gesture that has no name."""
    if scene.motion == IMPROVISED:
        return None
    return scene.motion if scene.also is None else f"{scene.motion} while {scene.also}"


def caption(
    scene: PuppetScene, rng: random.Random | None = None, motion_text: str | None = None
) -> str:
    """Describe a scene.

    Args:
        scene: what is drawn.
        rng: if given, attributes are left out at random and the motion is sometimes named vaguely
            ("doing other things") or by a word without meaning ("doing the sks"); without it the
            caption says everything.
        motion_text: takes the place of the motion's name, for example ``"doing the <token>"``.

    Returns:
        For example ``"two red robots waving while jumping slowly in the forest"``.
    """

    def keep(chance: float) -> bool:
        return rng is None or rng.random() < chance

    words = [subject(scene, colour=keep(NAME_COLOUR))]
    doing = motion_text or _motion_text(scene, rng)
    speed = scene.speed if scene.speed and keep(NAME_SPEED) else ""
    place = scene.place if keep(NAME_PLACE) else ""
    if rng is not None and scene.count == 1 and rng.random() < USE_IS:
        words.append("is")
    return " ".join(filter(None, [*words, doing, speed, place]))


def _motion_text(scene: PuppetScene, rng: random.Random | None) -> str:
    """The motion's name, or a vague one: always for what has no name, sometimes at random."""
    name = motion_words(scene)
    if name is None or (rng is not None and rng.random() < VAGUE_MOTION):
        if rng is None:
            return VAGUE_MOTIONS[0]
        if rng.random() < RARE_WORD:
            return f"doing the {rng.choice(RARE_WORDS)}"
        return rng.choice(VAGUE_MOTIONS)
    return name


def appearance_phrase(scene: PuppetScene) -> str:
    """The caption without motion, for CLIP appearance: ``"a red robot in the forest"``."""
    return f"{subject(scene)} {scene.place}"
