"""Other scenes for our results: prompts that pair with the usual ones, and scores that tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import pytest

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import ConfigError
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.prompt_list import PromptList
from motion_ray.evaluation.prompts import SLOT
from motion_ray.reproduction.beyond import SCENES
from motion_ray.reproduction.experiment import (
    BASE,
    COUNT,
    FIRST,
    JUMPING,
    KICKING,
    LAST,
    TEMPO,
    staged,
    unstaged,
)
from motion_ray.reproduction.experiments import EXPERIMENTS, PAPERS_OWN
from motion_ray.reproduction.scale import Scale, puppet_scale
from motion_ray.reproduction.scenes import prompts_of, scene_scores, scenes_of
from tests.reproduction.samples import row

BEYOND = [EXPERIMENTS["beyond"]]


def characters(prompts: PromptList) -> list[tuple[str, str, str]]:
    looks = [listed.look for listed in prompts.prompts]
    return [(look.kind, look.colour, look.place) for look in looks if look]


def test_every_scene_asks_for_the_same_characters_in_the_same_order() -> None:
    scale = puppet_scale()
    found, usual = scenes_of(BEYOND, scale), characters(scale.asked())
    scenes = found["ours"]
    assert list(found) == ["ours"] and list(scenes) == [scene.name for scene in SCENES]
    assert all(characters(prompts) == usual for prompts in scenes.values())
    assert scenes_of([EXPERIMENTS["table1"]], scale) == {}


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        ("two puppets", f"two blue robots {SLOT} in the desert"),
        ("slowly", f"a blue robot {SLOT} slowly in the desert"),
        ("quickly", f"a blue robot {SLOT} quickly in the desert"),
        ("while jumping", f"a blue robot {SLOT} while jumping in the desert"),
        ("while kicking", f"a blue robot {SLOT} while kicking in the desert"),
    ],
)
def test_what_a_scene_asks_for_and_what_is_drawn_of_it(scene: str, text: str) -> None:
    listed = scenes_of(BEYOND, puppet_scale())["ours"][scene].prompts[1]
    assert listed.prompt.template == text and listed.look is not None
    drawn = listed.look.scene("dabbing")
    wanted = next(each for each in SCENES if each.name == scene)
    assert (drawn.count, drawn.speed, drawn.also) == (wanted.count, wanted.speed, wanted.also)


def test_prompts_that_describe_no_puppet_cannot_be_staged() -> None:
    scale: Scale = replace(puppet_scale(), prompt_list="paper")
    with pytest.raises(ConfigError, match="their scenes are of the puppet world"):
        scenes_of(BEYOND, scale)


@pytest.mark.parametrize("name", [n for n, each in EXPERIMENTS.items() if each.scenes])
def test_every_claim_is_about_a_kind_or_a_scene_that_is_asked_for(name: str) -> None:
    experiment = EXPERIMENTS[name]
    known = {"ours"}
    names = [*(scene.name for scene in experiment.scenes), *(KINDS if experiment.kinds else ())]
    known |= {staged(row.method, name) for row in experiment.rows for name in names}
    for claim in experiment.claims:
        assert set(claim.methods) <= known, claim.text
    assert name not in PAPERS_OWN  # other scales' prompts describe no puppets


def test_methods_are_asked_for_the_scenes_of_their_experiments() -> None:
    """Figure 5's are four of the five, the same prompts for both methods."""
    found = scenes_of([EXPERIMENTS["fig5-scenes"], *BEYOND], puppet_scale())
    four = [scene.name for scene in SCENES if scene.name != "quickly"]
    assert list(found["tune-a-video"]) == four
    assert set(found["ours"]) == {*four, "quickly"}
    assert all(found["ours"][name] == prompts for name, prompts in found["tune-a-video"].items())
    assert list(prompts_of(found)) == [*four, "quickly"]


def test_a_row_says_whose_results_it_is_of_and_in_which_scene() -> None:
    assert unstaged(staged("tune-a-video", "two puppets")) == ("tune-a-video", "two puppets")
    for usual in ("ours", "tune-a-video", BASE, FIRST, LAST):
        assert unstaged(usual) == (usual, "")


def test_a_tempo_is_that_of_videos_in_which_the_motion_is_recognised() -> None:
    tempo = scene_scores([], load_image_text_encoder("puppet"))[TEMPO]
    assert tempo(row("dabbing", 0, right=True)) == 0.9
    assert tempo(row("dabbing", 0, right=False)) is None
    lost = replace(row("dabbing", 0, right=True), scores=None, failure="no memory")
    assert tempo(lost) is None


@pytest.fixture(scope="module")
def looked() -> Callable[[PuppetScene], Measurement]:
    """A row about a drawn clip, with the evaluators' own numbers."""
    encoder, classifier = load_image_text_encoder("puppet"), load_motion_classifier("puppet")

    def look(scene: PuppetScene) -> Measurement:
        clip = render_batch([scene])
        mean = encoder.encode_frames(clip[0]).mean(0)
        made = row("dabbing", 0, right=True)
        assert made.scores is not None
        question = replace(made.question, kind=scene.kind, colour=scene.colour, place=scene.place)
        scores = replace(
            made.scores,
            embedding=tuple((mean / mean.norm()).tolist()),
            probabilities=tuple(classifier.probabilities(clip)[0].tolist()),
        )
        return Measurement(question, scores)

    return look


def test_two_puppets_are_told_from_one_on_drawn_clips(
    looked: Callable[[PuppetScene], Measurement],
) -> None:
    encoder = load_image_text_encoder("puppet")
    sees_two = scene_scores([], encoder)[COUNT]
    scenes = [
        PuppetScene(kind, colour, "in the snow", "waving", count=count, seed=seed)
        for count in (1, 2)
        for seed, (kind, colour) in enumerate(
            [("robot", "red"), ("bear", "blue"), ("crab", "green"), ("person", "pink")] * 3
        )
    ]
    found = [sees_two(looked(scene)) for scene in scenes]
    right = [seen == (scene.count == 2) for seen, scene in zip(found, scenes, strict=True)]
    assert sum(right) >= 22, found


@pytest.mark.parametrize(("legs", "score"), [("jumping", JUMPING), ("kicking", KICKING)])
def test_a_clip_with_other_legs_looks_more_like_their_motion(
    looked: Callable[[PuppetScene], Measurement], legs: str, score: str
) -> None:
    classifier = load_motion_classifier("puppet")
    alike = scene_scores(classifier.labels, load_image_text_encoder("puppet"))[score]

    def mean(also: str | None) -> float:
        scenes = [
            PuppetScene(kind, "red", "in the snow", "swiping down", also=also, seed=seed)
            for seed in range(4)
            for kind in ("robot", "bear", "alien")
        ]
        values = [alike(looked(scene)) for scene in scenes]
        return fmean(value for value in values if value is not None)

    assert mean(legs) > 2 * mean(None)
