"""Scenes: what one can hold, how they are drawn by lot, and that captions say only what is true."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import (
    VAGUE_MOTIONS,
    appearance_phrase,
    caption,
    motion_words,
)
from motion_ray.data.puppets.motions import (
    BASE_MOTIONS,
    HELD_OUT_MOTIONS,
    LOWER_MOTIONS,
    MOTIONS,
    UPPER_MOTIONS,
)
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import SPEEDS, PuppetScene, sample_scene
from motion_ray.errors import DataError

FILLERS = {"a", "an", "two", "is", "while"}


def scenes(count: int, seed: int = 0) -> list[PuppetScene]:
    rng = random.Random(seed)
    return [sample_scene(rng) for _ in range(count)]


def test_twelve_base_and_five_held_out_motions_that_share_no_word() -> None:
    assert len(BASE_MOTIONS) == 12 and len(HELD_OUT_MOTIONS) == 5
    assert not set(BASE_MOTIONS) & set(HELD_OUT_MOTIONS)
    assert set(BASE_MOTIONS) | set(HELD_OUT_MOTIONS) == set(MOTIONS)
    assert {*LOWER_MOTIONS, *UPPER_MOTIONS} <= set(BASE_MOTIONS)


def test_every_word_of_a_caption_is_true_of_its_scene() -> None:
    rng = random.Random(1)
    for scene in scenes(2000):
        text = caption(scene, rng)
        noun = scene.kind if scene.count == 1 else f"{scene.kind}s".replace("persons", "people")
        true = {scene.colour, noun, scene.speed, *scene.place.split(), *motion_words(scene).split()}
        vague = {word for phrase in VAGUE_MOTIONS for word in phrase.split()}
        assert set(text.split()) <= true | vague | FILLERS, text
        assert noun in text.split()
        assert text.split()[0] == ("two" if scene.count == 2 else text.split()[0])
        assert ("two" in text.split()) == (scene.count == 2)


def test_a_full_caption_says_everything() -> None:
    scene = PuppetScene("alien", "blue", "at night", "waving", 2, "slowly", "jumping")
    assert caption(scene) == "two blue aliens waving while jumping slowly at night"
    single = PuppetScene("person", "red", "in the forest", "dabbing")
    assert (
        caption(single, motion_text="doing the pll") == "a red person doing the pll in the forest"
    )
    assert appearance_phrase(single) == "a red person in the forest"


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [("alien", 1, "an alien"), ("bear", 1, "a bear"), ("person", 2, "two people")],
)
def test_articles_and_plurals(kind: str, count: int, words: str) -> None:
    class Silent(random.Random):
        """Drops every attribute."""

        def random(self) -> float:
            return 1.0

    scene = PuppetScene(kind, "red", "at night", "walking", count)
    assert caption(scene, Silent()) == f"{words} walking"


def test_attributes_are_left_out_as_often_as_stated() -> None:
    rng = random.Random(2)
    drawn = scenes(4000)
    texts = [caption(scene, rng) for scene in drawn]
    named = sum(scene.colour in text.split() for scene, text in zip(drawn, texts, strict=True))
    vague = sum(any(phrase in text for phrase in VAGUE_MOTIONS) for text in texts)
    assert named / 4000 == pytest.approx(0.85, abs=0.03)
    assert vague / 4000 == pytest.approx(0.12, abs=0.03)


def test_held_out_motions_are_in_no_base_scene_or_caption() -> None:
    rng = random.Random(3)
    names = {word for motion in HELD_OUT_MOTIONS for word in motion.split()} - {"arms"}
    for scene in scenes(5000):
        assert scene.motion in BASE_MOTIONS and scene.also in (None, *BASE_MOTIONS)
        words = set(caption(scene, rng).split())
        assert not words & names


def test_scenes_are_drawn_with_the_stated_shares() -> None:
    drawn = scenes(20000, seed=4)
    for name, options in (
        ("kind", KINDS),
        ("colour", COLOURS),
        ("place", PLACES),
        ("motion", BASE_MOTIONS),
    ):
        counts = Counter(getattr(scene, name) for scene in drawn)
        assert set(counts) == set(options)
        for share in counts.values():
            assert share / 20000 == pytest.approx(1 / len(options), abs=0.015)
    assert sum(scene.count == 2 for scene in drawn) / 20000 == pytest.approx(0.2, abs=0.015)
    for speed, share in zip(SPEEDS, (0.8, 0.1, 0.1), strict=True):
        assert sum(scene.speed == speed for scene in drawn) / 20000 == pytest.approx(
            share, abs=0.015
        )
    combinable = [scene for scene in drawn if scene.motion in UPPER_MOTIONS]
    assert sum(scene.also is not None for scene in combinable) / len(combinable) == pytest.approx(
        0.25, abs=0.02
    )


def test_equal_seeds_give_equal_scenes_and_fixed_values_hold() -> None:
    assert scenes(50, seed=5) == scenes(50, seed=5) != scenes(50, seed=6)
    fixed = sample_scene(
        random.Random(0),
        ["dabbing"],
        kind="bear",
        colour="pink",
        place="at night",
        count=2,
        speed="",
    )
    assert (fixed.kind, fixed.colour, fixed.place) == ("bear", "pink", "at night")
    assert (fixed.count, fixed.speed, fixed.motion) == (2, "", "dabbing")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "cat"}, "kind"),
        ({"colour": "orange"}, "colour"),
        ({"place": "forest"}, "place"),
        ({"motion": "flying"}, "motion"),
        ({"count": 3}, "count"),
        ({"speed": "fast"}, "speed"),
        ({"motion": "waving", "also": "dancing"}, "also"),
        ({"motion": "dancing", "also": "jumping"}, "motion (with also)"),
    ],
)
def test_a_word_the_world_does_not_have_is_refused(change: dict[str, object], named: str) -> None:
    good = {"kind": "person", "colour": "red", "place": "at night", "motion": "waving"}
    with pytest.raises(DataError) as error:
        PuppetScene(**{**good, **change})  # type: ignore[arg-type]
    assert error.value.where == f"puppet scene, {named}"
    assert "one of" in error.value.fix


def test_no_motions_to_choose_from_is_refused() -> None:
    with pytest.raises(DataError, match="at least one motion"):
        sample_scene(random.Random(0), [])
