"""The puppet recipe: what it asks the base model for can be drawn, and is new to it."""

from __future__ import annotations

import pytest

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import PuppetScene, split_of
from motion_ray.recipes.puppet import PROMPTS, puppet


def scene_of(prompt: str) -> PuppetScene:
    """The one scene, up to its motion, that the prompt without its slot describes."""
    phrase = prompt.replace("<motion> ", "")
    every = (
        PuppetScene(kind, colour, place, "waving")
        for kind in KINDS
        for colour in COLOURS
        for place in PLACES
    )
    [scene] = [scene for scene in every if appearance_phrase(scene) == phrase]
    return scene


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_character_is_a_person_or_of_the_test_split(prompt: str) -> None:
    scene = scene_of(prompt)
    assert scene.kind == "person" or split_of(scene.kind, scene.colour, scene.place) == "test"


def test_prompts_are_eight_and_show_every_kind_colour_and_place() -> None:
    scenes = [scene_of(prompt) for prompt in PROMPTS]
    assert len(set(PROMPTS)) == 8
    assert {scene.kind for scene in scenes} == set(KINDS)
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.place for scene in scenes} == set(PLACES)
    assert sum(scene.kind == "person" for scene in scenes) == 1


def test_the_recipe_validates_on_them() -> None:
    assert puppet().validation.prompts == PROMPTS
