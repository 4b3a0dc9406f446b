"""Training the copy detector: its loss by hand, its frames, resuming, threshold and folder."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.data.puppets.render import render_batch
from motion_ray.errors import BaseModelError, RunFolderError
from motion_ray.evaluation.copying import (
    CONTROL_LIMIT,
    NearestFrame,
    describe_training,
    nearest_frame,
)
from motion_ray.evaluation.copying_calibration import (
    TRAINING_CLIPS,
    closeness,
    draw_trials,
    false_alarms,
    threshold_at,
)
from motion_ray.evaluation.copying_data import (
    GROUP,
    KNOWN_CHANGES,
    copied,
    crop_to,
    group_scenes,
    most_alike,
)
from motion_ray.evaluation.copying_model import CopyReport, write_card, write_copying_folder
from motion_ray.evaluation.copying_network import (
    EMBEDDED_FOLDER,
    DescriptorShape,
    build_descriptor,
    load_embedded_detector,
)
from motion_ray.evaluation.motion_data import motion_scenes
from motion_ray.evaluation.train_copying import (
    CopyTraining,
    copy_loss,
    train_copying,
)
from tests.evaluation.training_helpers import assert_a_killed_run_ends_alike, halves, run

TINY = CopyTraining(groups=3, steps=4, batch_groups=2, warmup=1, checkpoint_every=2)


# --- loss -----------------------------------------------------------------------------------------


def test_the_loss_is_what_one_computes_by_hand() -> None:
    """Two frames, copies equal, frames at a right angle, temperature 1.

    Each copy sees its partner at cosine 1 and two others at 0: -log(e / (e + 2)). The nearest other
    is sqrt 2 away: the spreading term is -log sqrt 2.
    """
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    contrast = -math.log(math.e / (math.e + 2))
    assert float(copy_loss(vectors, vectors, 1.0, 0.0)) == pytest.approx(contrast, abs=1e-6)
    spread = contrast - 3.0 * math.log(2**0.5)
    assert float(copy_loss(vectors, vectors, 1.0, 3.0)) == pytest.approx(spread, abs=1e-6)


def test_the_spreading_term_moves_strangers_apart_and_not_copies() -> None:
    one = functional.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1]]), dim=-1).requires_grad_()
    copy_loss(one, one.detach(), 1e6, 1.0).backward()  # so hot that nothing else pulls
    assert one.grad is not None
    step = functional.normalize(one.detach() - 0.1 * one.grad, dim=-1)
    assert float(step[0] @ step[1]) < float((one[0] @ one[1]).detach())


def test_equal_strangers_give_a_finite_loss() -> None:
    same = torch.ones(3, 4) / 2
    assert math.isfinite(float(copy_loss(same, same, 0.05, 5.0)))


# --- frames ---------------------------------------------------------------------------------------


def test_a_group_has_the_same_words_and_other_seeds() -> None:
    scenes = group_scenes(5, "x")
    assert len(scenes) == 5 * GROUP
    for start in range(0, len(scenes), GROUP):
        group = scenes[start : start + GROUP]
        assert len({replace(scene, seed=0) for scene in group}) == 1
        assert len({scene.seed for scene in group}) == GROUP


def test_of_each_clip_the_most_alike_frame_is_taken() -> None:
    """Grey clips: the others' frames nearest to the first clip's only shade, 100."""
    shades = [[100, 100, 100], [0, 90, 200], [120, 10, 130], [99, 101, 255]]
    clips = torch.tensor(shades, dtype=torch.uint8)[:, :, None, None, None].expand(-1, -1, 3, 4, 4)
    frames = most_alike(clips, torch.Generator().manual_seed(0))
    assert frames.shape == (GROUP, 3, 4, 4)
    assert frames[:, 0, 0, 0].tolist() == [100, 90, 120, 99]


def test_copies_differ_and_stay_pictures() -> None:
    frames = render_batch(group_scenes(4, "y"), 1)[:, 0]
    one, other = (copied(frames, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert one.shape == frames.shape and one.min() >= 0 and one.max() <= 1
    assert not torch.equal(one, other)
    assert torch.equal(one, copied(frames, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", KNOWN_CHANGES)
def test_every_known_change_changes_a_frame_and_keeps_its_form(name: str) -> None:
    frames = render_batch(group_scenes(1, "z"), 1)[:, 0]
    changed = KNOWN_CHANGES[name](frames)
    assert changed.dtype == torch.uint8 and changed.shape == frames.shape
    assert not torch.equal(changed, frames)


def test_a_crop_enlarges_the_middle() -> None:
    frame = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    frame[..., 16:48, 16:48] = 255
    assert float(crop_to(0.25)(frame).float().mean()) > 250


# --- training -------------------------------------------------------------------------------------


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert_a_killed_run_ends_alike(train_copying, TINY, tmp_path)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(train_copying, TINY, tmp_path, stop_at=1)
    with pytest.raises(RunFolderError, match="other settings"):
        run(train_copying, replace(TINY, entropy=1.0), tmp_path)


# --- threshold ------------------------------------------------------------------------------------


def test_the_threshold_lets_so_many_pass_and_no_more() -> None:
    scores = torch.arange(200) / 200
    threshold = threshold_at(scores, 0.01)
    assert int((scores > threshold).sum()) == 2
    assert threshold_at(torch.tensor([0.1, 0.5]), 0.01) == 0.5  # of two, none may pass


def test_a_trial_has_one_hard_case_and_others_of_the_kind_and_motion() -> None:
    for trial in draw_trials(5, "x"):
        unseen, (hard, *others) = trial.unseen, trial.training
        assert replace(hard, seed=0) == replace(unseen, seed=0) and hard.seed != unseen.seed
        assert len(others) == TRAINING_CLIPS - 1
        assert {(s.kind, s.motion) for s in others} == {(unseen.kind, unseen.motion)}
        assert all(
            (s.kind, s.colour, s.place) != (unseen.kind, unseen.colour, unseen.place)
            for s in others
        )


# --- the folder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copying") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_descriptor(DescriptorShape())
    write_copying_folder(model.state_dict(), folder, 0.75, "a card")
    return folder


def test_a_written_folder_loads_with_its_threshold(written: Path) -> None:
    detector = load_embedded_detector(written)
    frames = render_batch(motion_scenes(3, "x"))[:, 0]
    vectors = detector.embed(frames)
    assert detector.threshold == 0.75 and vectors.shape == (3, DescriptorShape().length)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    alone = torch.cat([detector.embed(frame[None]) for frame in frames])
    assert torch.allclose(alone, vectors, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        detector.embed(frames.float())


def test_damage_and_misfits_are_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="no such folder"):
        load_embedded_detector(tmp_path / "nothing")
    copy = Path(shutil.copytree(written, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "threshold": 0.1}))
    with pytest.raises(BaseModelError, match="damaged"):
        load_embedded_detector(copy)


def test_the_card_tells_threshold_false_alarms_and_recall(written: Path) -> None:
    detector = load_embedded_detector(written)
    trials = draw_trials(2, "y")
    alarms = false_alarms(detector, trials, halves)
    assert torch.equal(alarms.all, torch.maximum(alarms.hard, alarms.others))
    found = closeness(detector, motion_scenes(4, "z", "test"), halves)
    report = CopyReport(TINY, "the command", "f00", 1.0, "a machine", 9, 0.5, alarms, alarms, found)
    card = write_card(report)
    assert "**0.5000**" in card and "the command" in card and "f00" in card
    assert all(f"| {name} |" in card for name in found)
    assert torch.allclose(found["nothing"].frame, torch.ones(4), atol=1e-5)  # itself
    for each in found.values():
        assert each.clip.shape == (4,) and (each.clip >= each.frame).all()


# --- what is shipped ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not EMBEDDED_FOLDER.exists(), reason="no copy detector is shipped yet")
def test_the_embedded_detector_finds_copies_and_passes_its_control() -> None:
    """Training clips compressed hard, and cropped; the control: others of the kind and motion."""
    detector = load_embedded_detector()
    scenes = motion_scenes(20, "tests of the copy detector", "test")
    clips = render_batch(scenes)
    training = describe_training(detector, list(clips))
    compressed = KNOWN_CHANGES["JPEG, quality 50"]
    control = render_batch([trial.training[1] for trial in draw_trials(20, "control")])

    def nearest(videos: Iterable[Tensor]) -> list[NearestFrame]:
        return [nearest_frame(detector.embed(video), training) for video in videos]

    def copies(found: list[NearestFrame]) -> int:
        return sum(each.score > detector.threshold for each in found)

    found = nearest(compressed(clip) for clip in clips)
    assert copies(found) >= 19 and [each.clip for each in found] == list(range(20))
    assert copies(nearest(crop_to(0.9)(clip) for clip in clips)) >= 10
    assert copies(nearest(control)) <= CONTROL_LIMIT * len(control)
    assert (EMBEDDED_FOLDER / "model.safetensors").stat().st_size < 2 * 2**20
