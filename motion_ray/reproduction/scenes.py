"""Beyond the paper's tables: what it shows in pictures, as measurements on what was learned.

A motion learned from one person at normal speed is asked of two puppets, slowly, quickly and
together with a motion that the base knows ("doing the pll while jumping"). Nothing is trained for
this. The same scenes are drawn, so that a score has its ceiling beside it. Shapes: e width of an
image embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from motion_ray.data.puppets.captions import appearance_phrase, caption
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import ConfigError
from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.prompt_list import ListedPrompt, PromptList
from motion_ray.evaluation.prompts import SLOT, EvalPrompt
from motion_ray.evaluation.scoreboard import Value
from motion_ray.reproduction.experiment import (
    COUNT,
    JUMPING,
    KICKING,
    TEMPO,
    Experiment,
    Scene,
)
from motion_ray.reproduction.scale import Scale

Scenes = Mapping[str, Mapping[str, PromptList]]
"""Method to scene to prompts."""


def scenes_of(experiments: Sequence[Experiment], scale: Scale) -> dict[str, dict[str, PromptList]]:
    """The prompts of every scene that some experiments ask methods for, by method and scene.

    Each list is as long as the scale's own, and has the same character and place in the same
    position, so that videos of two scenes are pairs.

    Raises:
        ConfigError: the scale's prompts are not of the puppet world.
    """
    found: dict[str, dict[str, PromptList]] = {}
    asked = scale.asked()
    for method, scene in (
        (row.method, scene) for each in experiments for scene in each.scenes for row in each.rows
    ):
        found.setdefault(method, {})[scene.name] = replace(
            asked,
            name=f"{asked.name}, {scene.name}",
            prompts=tuple(_staged(each, scene) for each in asked.prompts),
        )
    return found


def prompts_of(scenes: Scenes) -> dict[str, PromptList]:
    """The prompts of each scene, whoever is asked for it."""
    return {name: prompts for own in scenes.values() for name, prompts in own.items()}


def scene_scores(classes: Sequence[str], encoder: OpenClipEncoder) -> dict[str, Value]:
    """Scores that only scenes are about.

    Args:
        classes: of the motion classifier, in the order of its probabilities.
        encoder: that the rows were measured with.
    """
    reader = _CountReader(encoder)
    found: dict[str, Value] = {COUNT: reader.sees_two, TEMPO: _tempo}
    for score, motion in ((JUMPING, "jumping"), (KICKING, "kicking")):
        if motion in classes:
            found[score] = _probability(list(classes).index(motion))
    return found


def _tempo(row: Measurement) -> float | None:
    return row.scores.consistency if row.scores is not None and row.right else None


def _probability(number: int) -> Value:
    return lambda row: row.scores and row.scores.probabilities[number]


@dataclass(frozen=True)
class _CountReader:
    """Tells one puppet from two, by which phrase fits the frames better."""

    encoder: OpenClipEncoder
    _phrases: dict[tuple[str, str, str], Tensor] = field(default_factory=dict)

    def sees_two(self, row: Measurement) -> float | None:
        """1.0 or 0.0; None where it is not known what should be there."""
        asked = row.question
        if row.scores is None or not asked.kind:
            return None
        one, two = self._both(asked.kind, asked.colour, asked.place) @ torch.tensor(
            row.scores.embedding
        )
        return float(two > one)

    def _both(self, kind: str, colour: str, place: str) -> Tensor:
        """Unit vectors ``[2, e]`` of "a red robot .." and "two red robots .."."""
        key = (kind, colour, place)
        if key not in self._phrases:
            scenes = [PuppetScene(*key, motion="waving", count=count) for count in (1, 2)]
            texts = [appearance_phrase(scene) for scene in scenes]
            self._phrases[key] = self.encoder.encode_texts(texts).cpu()
        return self._phrases[key]


def _staged(listed: ListedPrompt, scene: Scene) -> ListedPrompt:
    if listed.look is None:
        raise ConfigError(
            "beyond, fig5-scenes",
            f"their scenes are of the puppet world, and {listed.prompt.template!r} is not",
            "leave them out, or ask for --scale puppet",
        )
    look = listed.look.model_copy(update=scene.changes)
    doing = SLOT if scene.also is None else f"{SLOT} while {scene.also}"
    text = caption(look.scene("dabbing"), motion_text=doing)
    return ListedPrompt(EvalPrompt(text), listed.origin, look)
