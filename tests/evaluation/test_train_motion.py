"""Training the motion classifier: its clips, that a killed run loses nothing, and its folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from motion_ray.data.puppets.motions import MIRRORED_MOTIONS, NAMED_MOTIONS
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene, split_of
from motion_ray.errors import BaseModelError, CheckpointError, RunFolderError
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.motion_card import MotionReport, write_card
from motion_ray.evaluation.motion_data import (
    disturbed,
    is_simple,
    labels_of,
    motion_scenes,
    out_of_order,
    softened,
)
from motion_ray.evaluation.motion_model import normalised, write_motion_folder
from motion_ray.evaluation.motion_resnet import ResNetShape, build_resnet, resnet_logits
from motion_ray.evaluation.motion_scores import compare, score_classifier
from motion_ray.evaluation.statistics import Share
from motion_ray.evaluation.train_motion import MotionTraining, train_motion
from motion_ray.pretraining.one_model import trained_weights
from tests.evaluation.training_helpers import assert_a_killed_run_ends_alike, halves, run

TINY = MotionTraining(soft_clips=4, steps=4, batch=4, warmup=1, checkpoint_every=2)


# --- data -----------------------------------------------------------------------------------------


def test_scenes_show_all_named_motions_and_keep_to_their_split() -> None:
    scenes = motion_scenes(600, "x", "test")
    assert {scene.motion for scene in scenes} == set(NAMED_MOTIONS)
    assert {split_of(s.kind, s.colour, s.place) for s in scenes} == {"test"}
    assert {s.count for s in scenes} == {1, 2} and len({s.speed for s in scenes}) == 3
    assert any(s.also for s in scenes)
    assert {s.seed for s in scenes}.isdisjoint(s.seed for s in motion_scenes(600, "x", "train"))


def test_a_combination_counts_as_its_upper_motion() -> None:
    scene = PuppetScene("bear", "red", "at night", "waving", also="jumping")
    assert labels_of([scene]).tolist() == [NAMED_MOTIONS.index("waving")]
    assert not is_simple(scene) and is_simple(replace(scene, also=None))


def test_only_what_may_be_mirrored_is() -> None:
    """A clip whose left half is black shows by its dark side whether it was mirrored."""
    clip = torch.full((1, 2, 3, 32, 32), 200, dtype=torch.uint8)
    clip[..., :16] = 0

    def mirrored(motion: str) -> float:
        scene = PuppetScene("bear", "red", "at night", motion)
        changed = disturbed(
            clip.expand(40, -1, -1, -1, -1), [scene] * 40, torch.Generator().manual_seed(0)
        )
        return float((changed[..., :8].mean((1, 2, 3, 4)) > 100).float().mean())

    assert "waving" not in MIRRORED_MOTIONS and "bowing" in MIRRORED_MOTIONS
    assert mirrored("waving") == 0.0
    assert 0.2 < mirrored("bowing") < 0.8


def test_all_frames_of_a_clip_are_disturbed_alike_but_for_noise() -> None:
    still = render_batch([PuppetScene("bear", "red", "at night", "waving")], 1).expand(
        4, 6, -1, -1, -1
    )
    scenes = motion_scenes(4, "y")
    changed = disturbed(still, scenes, torch.Generator().manual_seed(1))
    assert changed.min() >= 0 and changed.max() <= 255 and torch.equal(changed, changed.round())
    apart = (changed[:, 0] - changed[:, 1]).abs().mean((1, 2, 3))
    assert apart.max() < 20  # noise of at most 5 % of the range
    assert (changed[0, 0] - changed[1, 0]).abs().mean() > apart[0]


def test_frames_out_of_order_are_the_same_frames() -> None:
    clips = torch.arange(5, dtype=torch.uint8)[None, :, None, None, None].expand(8, 5, 3, 1, 1)
    mixed = out_of_order(clips, torch.Generator().manual_seed(0))[:, :, 0, 0, 0]
    assert torch.equal(mixed.sort(1).values, clips[:, :, 0, 0, 0])
    assert len({tuple(row) for row in mixed.tolist()}) > 4


def test_clips_go_through_a_round_trip_frame_by_frame() -> None:
    clips = render_batch(motion_scenes(2, "z"), 3)
    assert torch.equal(softened(clips, halves)[1, 2], halves(clips[1, 2][None])[0])


# --- training -------------------------------------------------------------------------------------


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert_a_killed_run_ends_alike(train_motion, TINY, tmp_path)


def test_an_unfinished_run_has_no_weights_and_other_settings_are_refused(tmp_path: Path) -> None:
    run(train_motion, TINY, tmp_path, stop_at=1)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        trained_weights(TINY, tmp_path)
    with pytest.raises(RunFolderError, match="other settings"):
        run(train_motion, replace(TINY, seed=1), tmp_path)


def test_it_learns_two_motions_apart() -> None:
    """The network, the clips and the labels fit: a few steps tell jumping from standing still."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_resnet(ResNetShape(), 2)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    scenes = [s for s in motion_scenes(400, "w") if s.motion in ("jumping", "standing still")][:16]
    labels = torch.tensor([int(s.motion == "jumping") for s in scenes])
    clips = normalised(render_batch(scenes).float())
    for _ in range(10):
        loss = functional.cross_entropy(resnet_logits(model)(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


# --- the folder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_resnet(ResNetShape(), len(NAMED_MOTIONS))
    write_motion_folder(model.state_dict(), folder, lambda where: f"{where.name}\n")
    return folder


def test_a_written_folder_loads_and_answers_as_the_network_does(written: Path) -> None:
    classifier = load_motion_classifier(str(written))
    assert classifier.labels == NAMED_MOTIONS
    clips = render_batch(motion_scenes(2, "v"))
    with torch.no_grad():
        direct = classifier.logits(normalised(clips.float())).softmax(-1)
    assert torch.allclose(classifier.probabilities(clips), direct, atol=1e-5)
    half = (written / "model.safetensors").stat().st_size
    assert half < 4 * 2**20


def test_a_larger_and_longer_video_is_brought_to_size(written: Path) -> None:
    classifier = load_motion_classifier(str(written))
    scenes = motion_scenes(2, "u")
    small, large = render_batch(scenes), render_batch(scenes, 24, 128)
    assert classifier.probabilities(large).shape == classifier.probabilities(small).shape


def test_a_flipped_bit_is_refused(written: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(BaseModelError, match="damaged"):
        load_motion_classifier(str(copy))


@pytest.mark.parametrize("change", [{"stem_channels": 8}, {"squeeze": 0}, {"squeeze": None}])
def test_a_config_of_another_network_is_refused(
    written: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    (copy / "manifest.json").unlink()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(BaseModelError, match="does not fit the weights") as error:
        load_motion_classifier(str(copy))
    assert "\n" not in str(error.value)


# --- scores and card ------------------------------------------------------------------------------


def test_mistakes_are_counted_by_hand() -> None:
    scenes = [
        PuppetScene("bear", "red", "at night", "waving"),
        PuppetScene("bear", "red", "at night", "waving", count=2),
        PuppetScene("bear", "red", "at night", "bowing", speed="slowly"),
        PuppetScene("bear", "red", "at night", "bowing"),
    ]
    found = compare(scenes, ["waving", "bowing", "waving", "bowing"])
    assert (found.every, found.simple) == (Share(2, 4), Share(2, 2))
    assert found.motions == {"bowing": Share(1, 2), "waving": Share(1, 2)}
    assert set(found.mistakes) == {("waving", "bowing", 1), ("bowing", "waving", 1)}


def test_the_card_tells_all_forms_and_every_motion(written: Path) -> None:
    classifier = load_motion_classifier(str(written))
    scores = score_classifier(classifier, motion_scenes(40, "t", "test"), halves)
    card = write_card(MotionReport(TINY, "the command", "f00", 2.0, "a machine", 10, scores))
    for text in ("| real |", "played backwards", "in random order", "first frame throughout"):
        assert text in card
    assert all(f"| {motion} |" in card for motion in scores.soft.motions)
    assert "steps=4" in card and "of 40" in card and "f00" in card


SHIPPED = Path(__file__).parents[2] / "motion_ray" / "assets" / "motion"


@pytest.mark.slow
def test_the_embedded_classifier_recognises_fresh_clips() -> None:
    """Of 60 simple scenes that neither training nor the card's test drew, nine in ten."""
    classifier = load_motion_classifier("puppet")
    scenes = [s for s in motion_scenes(200, "tests of the classifier", "test") if is_simple(s)][:60]
    found = compare(
        scenes,
        [
            classifier.labels[n]
            for n in classifier.probabilities(render_batch(scenes)).argmax(1).tolist()
        ],
    )
    assert found.every.rate >= 0.9
    assert (SHIPPED / "model.safetensors").stat().st_size < 5 * 2**20
