"""Scenes: what one can hold, how they are drawn by lot, and that captions say only what is true."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import (
    RARE_WORDS,
    VAGUE_MOTIONS,
    appearance_phrase,
    caption,
    motion_words,
    plural,
    subject,
)
from motion_ray.data.puppets.motions import (
    BASE_MOTIONS,
    HELD_OUT_MOTIONS,
    IMPROVISED,
    LOWER_MOTIONS,
    MOTIONS,
    NAMED_MOTIONS,
    UPPER_MOTIONS,
)
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import (
    IMPROVISED_SHARE,
    KEPT_ONE_IN,
    SPEEDS,
    SPLITS,
    PuppetScene,
    pretraining_scene,
    sample_scene,
    split_of,
)
from motion_ray.errors import DataError

FILLERS = {"a", "an", "two", "is", "while"}
UNNAMED = (*VAGUE_MOTIONS, *(f"doing the {word}" for word in RARE_WORDS))
VAGUE_WORDS = {word for phrase in UNNAMED for word in phrase.split()}
LOOKS = list(itertools.product(KINDS, COLOURS, PLACES))


def scenes(count: int, seed: int = 0) -> list[PuppetScene]:
    rng = random.Random(seed)
    return [sample_scene(rng) for _ in range(count)]


def seen_in_pretraining(
    count: int, seed: int = 0, split: str = "train"
) -> list[tuple[PuppetScene, str]]:
    """Scenes as the base model sees them, with a caption as it reads it."""
    rng = random.Random(seed)
    drawn = [pretraining_scene(rng, split) for _ in range(count)]
    return [(scene, caption(scene, rng)) for scene in drawn]


# --- motions --------------------------------------------------------------------------------------


def test_base_held_out_and_improvised_motions_are_all_there_is() -> None:
    assert len(BASE_MOTIONS) >= 12 and len(HELD_OUT_MOTIONS) >= 8
    assert (*BASE_MOTIONS, *HELD_OUT_MOTIONS) == NAMED_MOTIONS
    assert (*NAMED_MOTIONS, IMPROVISED) == tuple(MOTIONS)
    assert len(set(MOTIONS)) == len(NAMED_MOTIONS) + 1
    assert {*LOWER_MOTIONS, *UPPER_MOTIONS} <= set(BASE_MOTIONS)


def test_the_page_about_the_world_names_all_of_it() -> None:
    page = Path(__file__).parents[3] / "docs" / "puppets.md"
    rows = re.findall(r"^\| ([a-z ]+?) \|", page.read_text(), re.M)
    assert [name for name in rows if name in MOTIONS] == [*NAMED_MOTIONS]
    flat = " ".join(page.read_text().split())
    assert f"| kinds | {', '.join(KINDS)} |" in flat
    assert f"| places | {', '.join(PLACES)} |" in flat
    assert f"| colours | {', '.join(COLOURS)}" in flat
    for phrase in VAGUE_MOTIONS:
        assert f'"{phrase}"' in flat


# --- captions -------------------------------------------------------------------------------------


def test_every_word_of_a_caption_is_true_of_its_scene() -> None:
    for scene, text in seen_in_pretraining(3000, seed=1):
        noun = scene.kind if scene.count == 1 else f"{scene.kind}s".replace("persons", "people")
        doing = set() if scene.motion == IMPROVISED else set(str(motion_words(scene)).split())
        true = {scene.colour, noun, scene.speed, *scene.place.split()} | doing
        words = text.split()
        assert set(words) <= true | VAGUE_WORDS | FILLERS, text
        assert noun in words
        assert (words[0] == "two") == ("two" in words) == (scene.count == 2)


def test_a_full_caption_says_everything() -> None:
    scene = PuppetScene("alien", "blue", "at night", "waving", 2, "slowly", "jumping")
    assert caption(scene) == "two blue aliens waving while jumping slowly at night"
    single = PuppetScene("person", "red", "in the forest", "dabbing")
    assert (
        caption(single, motion_text="doing the pll") == "a red person doing the pll in the forest"
    )
    assert appearance_phrase(single) == "a red person in the forest"
    crab = PuppetScene("crab", "pink", "in the snow", IMPROVISED)
    assert caption(crab) == "a pink crab doing other things in the snow"


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        ("alien", 1, "an alien"),
        ("bear", 1, "a bear"),
        ("person", 2, "two people"),
        ("crab", 2, "two crabs"),
    ],
)
def test_articles_and_plurals(kind: str, count: int, words: str) -> None:
    class Silent(random.Random):
        """Drops every attribute."""

        def random(self) -> float:
            return 1.0

    scene = PuppetScene(kind, "red", "at night", "walking", count)
    assert caption(scene, Silent()) == f"{words} walking"
    assert subject(scene, colour=False) == words
    assert (plural(kind) in words) == (count == 2)


def test_attributes_are_left_out_as_often_as_stated() -> None:
    rng = random.Random(2)
    drawn = scenes(4000)
    texts = [caption(scene, rng) for scene in drawn]
    named = sum(scene.colour in text.split() for scene, text in zip(drawn, texts, strict=True))
    vague = sum(any(phrase in text for phrase in UNNAMED) for text in texts)
    rare = sum(bool(set(RARE_WORDS) & set(text.split())) for text in texts)
    assert named / 4000 == pytest.approx(0.85, abs=0.03)
    assert vague / 4000 == pytest.approx(0.12, abs=0.03)
    assert rare / vague == pytest.approx(0.5, abs=0.1)


def test_held_out_motions_are_in_no_pretraining_scene_or_caption() -> None:
    known = {word for motion in BASE_MOTIONS for word in motion.split()}
    special = {word for motion in HELD_OUT_MOTIONS for word in motion.split()} - known
    assert all(special & set(motion.split()) for motion in HELD_OUT_MOTIONS)
    for scene, text in seen_in_pretraining(10_000, seed=3):
        assert scene.motion in (*BASE_MOTIONS, IMPROVISED)
        assert scene.also in (None, *BASE_MOTIONS)
        assert not special & set(text.split()), text
        assert not any(motion in text for motion in HELD_OUT_MOTIONS), text


def test_an_improvised_gesture_is_never_named() -> None:
    heard: set[str] = set()
    for scene, text in seen_in_pretraining(4000, seed=4):
        if scene.motion != IMPROVISED:
            continue
        assert motion_words(scene) is None and scene.also is None
        heard |= {phrase for phrase in UNNAMED if phrase in text}
        for said in (text, caption(scene), appearance_phrase(scene), subject(scene)):
            assert IMPROVISED not in said
            assert not any(motion in said for motion in MOTIONS), said
        assert any(phrase in text for phrase in UNNAMED), text
    assert heard == set(UNNAMED)


def test_a_word_for_an_improvised_gesture_can_be_given() -> None:
    scene = PuppetScene("bear", "red", "at night", IMPROVISED)
    assert caption(scene, motion_text="doing the pll") == "a red bear doing the pll at night"


# --- scenes ---------------------------------------------------------------------------------------


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
    assert sum(scene.count == 2 for scene in drawn) / 20000 == pytest.approx(0.12, abs=0.015)
    for speed, share in zip(SPEEDS, (0.8, 0.1, 0.1), strict=True):
        assert sum(scene.speed == speed for scene in drawn) / 20000 == pytest.approx(
            share, abs=0.015
        )
    combinable = [scene for scene in drawn if scene.motion in UPPER_MOTIONS]
    assert sum(scene.also is not None for scene in combinable) / len(combinable) == pytest.approx(
        0.2, abs=0.02
    )
    assert not any(scene.also for scene in drawn if scene.motion not in UPPER_MOTIONS)


def test_a_quarter_of_what_the_base_model_sees_is_improvised() -> None:
    motions = Counter(scene.motion for scene, _ in seen_in_pretraining(12_000, seed=5))
    assert set(motions) == {*BASE_MOTIONS, IMPROVISED}
    assert motions[IMPROVISED] / 12_000 == pytest.approx(0.25, abs=0.015)
    for motion in BASE_MOTIONS:
        each = (1 - IMPROVISED_SHARE) / len(BASE_MOTIONS)
        assert motions[motion] / 12_000 == pytest.approx(each, abs=0.008)


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


# --- splits ---------------------------------------------------------------------------------------


def test_splits_share_no_combination_and_all_words() -> None:
    of = {split: [looks for looks in LOOKS if split_of(*looks) == split] for split in SPLITS}
    assert sum(len(own) for own in of.values()) == len(LOOKS) == 180
    assert len(of["validation"]) == len(of["test"]) == 180 // KEPT_ONE_IN
    for own in of.values():
        for position, words in enumerate((KINDS, COLOURS, PLACES)):
            assert Counter(looks[position] for looks in own).keys() == set(words)


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_is_of_the_split_it_was_drawn_for(split: str) -> None:
    drawn = [scene for scene, _ in seen_in_pretraining(1500, seed=6, split=split)]
    assert {split_of(scene.kind, scene.colour, scene.place) for scene in drawn} == {split}
    assert {scene.kind for scene in drawn} == set(KINDS)
    for field in ("kind", "colour", "place"):
        fixed = getattr(drawn[0], field)
        again = sample_scene(random.Random(7), split=split, **{field: fixed})
        assert getattr(again, field) == fixed
        assert split_of(again.kind, again.colour, again.place) == split


def test_splits_share_no_seed() -> None:
    """Even drawn from equal random states: the ranges of their seeds do not meet."""
    ranges = []
    for split in SPLITS:
        seeds = [scene.seed for scene, _ in seen_in_pretraining(2000, seed=8, split=split)]
        ranges.append((min(seeds), max(seeds)))
        assert len(set(seeds)) == 2000
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ranges))


def test_what_is_fixed_wins_over_the_split() -> None:
    of_test = next(looks for looks in LOOKS if split_of(*looks) == "test")
    kind, colour, place = of_test
    scene = sample_scene(random.Random(0), kind=kind, colour=colour, place=place, split="train")
    assert (scene.kind, scene.colour, scene.place) == of_test


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"split": "holdout"}, "split"),
        ({"kind": "cat"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"colour": "orange"}, "colour"),
        ({"place": "forest"}, "place"),
    ],
)
def test_a_wish_the_world_cannot_fulfil_is_refused(wish: dict[str, str], named: str) -> None:
    with pytest.raises(DataError) as error:
        sample_scene(random.Random(0), **wish)  # type: ignore[arg-type]
    assert error.value.where == f"puppet scene, {named}"


def test_a_combination_of_unknown_words_has_no_split() -> None:
    with pytest.raises(DataError, match="cat"):
        split_of("cat", "red", "at night")
