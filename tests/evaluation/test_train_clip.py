"""Training the embedded image-text model: loss, data, and that a killed run loses nothing."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.captions import VAGUE_MOTIONS, motion_words
from motion_ray.data.puppets.motions import IMPROVISED, MOTIONS, NAMED_MOTIONS
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import CheckpointError, RunFolderError
from motion_ray.evaluation.clip_data import (
    STRANGE,
    Description,
    blurred,
    describe,
    draw_frames,
    draw_scenes,
    known_words,
    true_pairs,
    with_noise,
)
from motion_ray.evaluation.clip_model import CONTEXT, build_tokenizer
from motion_ray.evaluation.train_clip import (
    ClipTraining,
    contrastive_loss,
    train_clip,
)
from motion_ray.pretraining.one_model import trained_weights
from tests.evaluation.training_helpers import assert_a_killed_run_ends_alike, run

TINY = ClipTraining(scenes=12, steps=6, batch=8, warmup=2, checkpoint_every=2)


def plain(said: Description) -> str:
    """The text without the strange word that may stand anywhere in it."""
    return " ".join(word for word in said.text.split() if word != STRANGE)


# --- data -----------------------------------------------------------------------------------------


def test_a_description_claims_what_its_text_says_and_nothing_false() -> None:
    rng = random.Random(0)
    for scene in draw_scenes(1500, "test"):
        said = describe(scene, rng)
        words = said.text.split()
        assert (said.colour is not None) == (scene.colour in words)
        assert (said.place is not None) == (scene.place in plain(said))
        assert said.motion in (None, motion_words(scene))
        assert (said.motion is not None) == any(motion in plain(said) for motion in MOTIONS)
        assert set(words) <= {*known_words(), STRANGE}
        assert true_pairs([scene], [said]).item()


def test_a_gesture_without_a_name_is_neither_named_nor_claimed() -> None:
    rng = random.Random(0)
    improvised = [scene for scene in draw_scenes(6000, "test") if scene.motion == IMPROVISED]
    vague = 0
    for scene in improvised:
        said = describe(scene, rng)
        assert said.motion is None
        assert not any(motion in plain(said) for motion in MOTIONS), said.text
        vague += any(phrase in plain(said) for phrase in VAGUE_MOTIONS)
    assert 0 < vague < len(improvised)


def test_a_named_motion_is_not_true_of_an_improvised_scene() -> None:
    waving = PuppetScene("crab", "red", "at night", "waving")
    improvised = replace(waving, motion=IMPROVISED)
    named = replace_claims(waving, colour="red", motion="waving")
    silent = replace_claims(improvised, colour="red", motion=None)
    assert true_pairs([waving, improvised], [named, silent]).tolist() == [
        [True, True],
        [False, True],
    ]


def test_scenes_are_of_every_motion_and_kind() -> None:
    drawn = draw_scenes(2000, "test")
    assert {scene.motion for scene in drawn} == {*NAMED_MOTIONS, IMPROVISED}
    assert {scene.kind for scene in drawn} == set(KINDS)


def test_known_words_are_those_that_texts_use() -> None:
    words = known_words()
    assert len(set(words)) == len(words)
    assert {"crab", "crabs", "people", "two", *["raising", "one", "arm"]} <= set(words)
    assert not {"persons", IMPROVISED, STRANGE} & set(words)


def test_true_pairs_are_those_in_which_nothing_contradicts() -> None:
    robot = PuppetScene("robot", "red", "at night", "waving")
    others = [
        robot,
        replace(robot, colour="blue"),
        replace(robot, kind="bear"),
        replace(robot, count=2),
        replace(robot, motion="walking"),
    ]
    vague = replace_claims(robot, colour=None, motion=None)
    exact = replace_claims(robot, colour="red", motion="waving")
    assert true_pairs(others, [vague, exact]).tolist() == [
        [True, True],
        [True, False],
        [False, False],
        [False, False],
        [True, False],
    ]


def replace_claims(scene: PuppetScene, colour: str | None, motion: str | None) -> Description:
    said = describe(scene, random.Random(0))
    return replace(said, colour=colour, place=scene.place, motion=motion)


def test_every_word_of_the_world_has_its_own_id_and_all_others_share_one() -> None:
    tokenizer = build_tokenizer()
    for scene in draw_scenes(300, "test words"):
        text = describe(scene, random.Random(1)).text.replace(STRANGE, "")
        ids = tokenizer.encode(text).ids
        assert 3 not in ids and len(ids) == CONTEXT
    assert tokenizer.encode("pll").ids[1] == tokenizer.encode("firefighter").ids[1] == 3
    assert tokenizer.encode("A Red robot").ids == tokenizer.encode("a red robot").ids


def test_frames_are_of_their_scenes() -> None:
    scenes = [
        PuppetScene("bear", c, "in the snow", "walking", seed=i)
        for i, c in enumerate(("red", "blue"))
    ]
    frames = torch.cat(list(draw_frames(scenes, 3, "test"))).float()
    assert frames.shape == (6, 3, 64, 64)
    redder = (
        frames[:, 0].amax((1, 2))
        - frames[:, 2].amax((1, 2))
        + (frames[:, 0] - frames[:, 2]).amax((1, 2))
    )
    assert (redder[:3] > redder[3:].max()).all()


def test_blur_and_noise_grow_with_their_strength() -> None:
    frames = torch.cat(list(draw_frames(draw_scenes(4, "test"), 1, "test")))
    generator = torch.Generator().manual_seed(0)

    def error(changed: Tensor) -> float:
        return float((changed.float() - frames.float()).abs().mean())

    blurs = [error(blurred(frames, sigma)) for sigma in (0.5, 1.0, 2.0)]
    noises = [error(with_noise(frames, level, generator)) for level in (0.05, 0.1, 0.2)]
    assert blurs == sorted(blurs) and noises == sorted(noises) and blurs[0] > 0.5


# --- loss -----------------------------------------------------------------------------------------


def test_the_loss_of_equal_vectors_is_that_of_guessing() -> None:
    same = functional.normalize(torch.ones(4, 8), dim=-1)
    loss = contrastive_loss(same, same, torch.tensor(0.0), torch.eye(4, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(4))


def test_a_text_that_is_true_of_another_frame_is_no_negative() -> None:
    vectors = torch.eye(3)
    images, texts = (
        vectors[[0, 0, 1]],
        vectors[[0, 0, 1]],
    )  # frames 0 and 1 look alike, so do their texts
    own = torch.eye(3, dtype=torch.bool)
    shared = own.clone()
    shared[0, 1] = shared[1, 0] = True
    scale = torch.tensor(math.log(50.0))
    assert contrastive_loss(images, texts, scale, shared).item() < 1e-6
    assert contrastive_loss(images, texts, scale, own).item() > 0.4


# --- training -------------------------------------------------------------------------------------


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses = run(train_clip, replace(TINY, steps=24, batch=12, checkpoint_every=24), tmp_path)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert_a_killed_run_ends_alike(train_clip, TINY, tmp_path)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    assert len(run(train_clip, TINY, tmp_path)) == TINY.steps
    assert run(train_clip, TINY, tmp_path) == []


def test_an_unfinished_run_has_no_weights_to_ship(tmp_path: Path) -> None:
    run(train_clip, TINY, tmp_path, stop_at=3)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        trained_weights(TINY, tmp_path)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(train_clip, TINY, tmp_path, stop_at=1)
    with pytest.raises(RunFolderError, match="other settings"):
        run(train_clip, replace(TINY, seed=1), tmp_path)
