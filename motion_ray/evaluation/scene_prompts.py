"""Prompts of the puppet world with the scene that a right answer shows, balanced over motions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.captions import caption
from motion_ray.data.puppets.motions import BASE_MOTIONS
from motion_ray.data.puppets.world import PuppetScene, sample_scene
from motion_ray.errors import ConfigError


@dataclass(frozen=True)
class ScenePrompt:
    """What to ask for and what should come.

    Attributes:
        scene: one puppet at normal speed; its own seed also draws the real clip for comparison.
        text: the prompt.
        seed: of the initial noise.
    """

    scene: PuppetScene
    text: str
    seed: int


def balanced_prompts(
    count: int,
    motions: Sequence[str] = BASE_MOTIONS,
    *,
    kinds: Sequence[str] = KINDS,
    doing: str | None = None,
    split: str = "test",
    seed: int = 0,
) -> list[ScenePrompt]:
    """Prompts whose motions and kinds come equally often, in an order that mixes both.

    Any number of the first of them is balanced too, as well as it can be: a short check looks at
    the same things as a long one. Colours and places are drawn among those that the split keeps for
    itself.

    Args:
        count: how many.
        motions: what to ask for.
        kinds: who should do it.
        doing: replaces the motion's name in the text: ``"doing the pll"``.
        split: whose scenes; the base model has seen no clip of ``"test"``.
        seed: of all choices; also of the initial noises, which are ``1000 * seed`` and on.

    Raises:
        ConfigError: no prompts are asked for.
        DataError: a word that the world does not have.
    """
    if count < 1:
        raise ConfigError("prompts", f"ask for at least one, got {count}", "for example 500")
    rng = random.Random(f"balanced prompts {seed}")
    pairs: list[tuple[str, str]] = []
    turn = 0
    while len(pairs) < count:
        # In one turn every motion comes once; a kind follows another from turn to turn.
        shuffled = rng.sample(list(motions), len(motions))
        place = {motion: index for index, motion in enumerate(motions)}
        pairs += [(motion, kinds[(place[motion] + turn) % len(kinds)]) for motion in shuffled]
        turn += 1
    return [
        _prompt(motion, kind, doing, split, 1000 * seed + index)
        for index, (motion, kind) in enumerate(pairs[:count])
    ]


def _prompt(motion: str, kind: str, doing: str | None, split: str, noise: int) -> ScenePrompt:
    # A stream of its own for each, so that a longer list begins with the shorter one.
    rng = random.Random(f"scene of prompt {noise}")
    scene = sample_scene(rng, [motion], kind=kind, count=1, speed="", compose=False, split=split)
    return ScenePrompt(scene, caption(scene, motion_text=doing), noise)
