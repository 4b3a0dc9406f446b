"""A small real VideoMAE learns to tell two gestures, resumes exactly, and says how good it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.score_gestures import main as score
from jobs.train_gestures import main
from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.data.jester import JesterClip
from motion_ray.errors import BaseModelError
from motion_ray.evaluation.motion import EMBEDDED_FOLDER, load_motion_classifier, own_accuracy
from motion_ray.evaluation.motion_finetune import FineTuning, LabelledClips, accuracy, fine_tune
from motion_ray.pretraining.loop import final_state
from tests.evaluation.fake_evaluators import build_tiny_classifier

LABELS = ("Drumming Fingers", "No gesture", "Swiping Down")
QUICK = FineTuning(steps=40, batch=6, lr=5e-3, warmup=4, smoothing=0.0, checkpoint_every=20)


def write_clip(folder: Path, label: str, number: int) -> JesterClip:
    """Twelve pictures of 32 x 40: a bright bar that goes down, one that blinks, or none."""
    folder.mkdir(parents=True)
    for frame in range(12):
        pixels = np.full((32, 40, 3), 20 + 5 * number, dtype=np.uint8)
        if label == "Swiping Down":
            pixels[2 * frame : 2 * frame + 6] = 220
        elif label == "Drumming Fingers" and frame % 2:
            pixels[:, 10:20] = 220
        Image.fromarray(pixels).save(folder / f"{frame + 1:05d}.png")
    return JesterClip(folder, label)


@pytest.fixture(scope="module")
def jester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 9 clips to train on and 6 to test with, as its owner would give it out."""
    root = tmp_path_factory.mktemp("jester")
    lines: dict[str, list[str]] = {"train": [], "validation": []}
    for number in range(15):
        label = LABELS[number % 3]
        write_clip(root / "20bn-jester-v1" / str(number), label, number)
        lines["train" if number < 9 else "validation"].append(f"{number};{label}")
    for name, rows in lines.items():
        (root / f"jester-v1-{name}.csv").write_text("\n".join(rows))
    (root / "jester-v1-labels.csv").write_text("\n".join(reversed(LABELS)))
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of other things."""
    return build_tiny_classifier(tmp_path_factory.mktemp("start") / "model", labels=("a", "b"))


def clips_of(jester: Path, numbers: range) -> LabelledClips:
    folder = jester / "20bn-jester-v1"
    return LabelledClips([JesterClip(folder / str(n), LABELS[n % 3]) for n in numbers], LABELS)


@pytest.mark.slow
def test_the_job_trains_tests_and_writes_a_classifier_that_evaluation_takes(
    jester: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--jester", str(jester), "--start", str(start), "--work", str(tmp_path / "work")]
    line += ["--out", str(tmp_path / "out")]
    for name in (
        "steps=40",
        "batch=6",
        "lr=5e-3",
        "warmup=4",
        "smoothing=0",
        "checkpoint_every=20",
    ):
        line += ["--set", name]
    assert main(line) == 0
    classifier = load_motion_classifier(str(tmp_path / "out"))
    assert classifier.labels == LABELS
    held_out = clips_of(jester, range(9, 15))
    right = accuracy(classifier, held_out, QUICK.seconds)
    assert right.of == 6 and right.right >= 5  # guessing gets 2
    told = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert (told["right"], told["of"]) == (right.right, 6)
    assert f"of {right.of}" in capsys.readouterr().out


def test_any_classifier_of_the_classes_can_be_tested(
    jester: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_tiny_classifier(tmp_path / "model", labels=LABELS)
    line = ["--jester", str(jester), "--classifier", str(folder)]
    assert score(line) == 0
    right = accuracy(load_motion_classifier(str(folder)), clips_of(jester, range(9, 15)), 2.6)
    assert own_accuracy(str(folder)) == str(right)
    assert str(right) in " ".join(capsys.readouterr().out.split())
    assert score([*line, "--clips", "3"]) == 0
    assert own_accuracy(str(folder)).endswith("of 3")
    for wrong, message in (
        (["--clips", "7"], "a number from 1 to 6"),
        (["--seconds", "0"], "--seconds: is above 0"),
        (["--trn", "x.pth.tar"], "--trn and --trn-sha256: belong together"),
    ):
        assert score([*line, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert score(["--jester", str(jester), "--classifier", str(start)]) == 2
    assert "does not know 3 of the classes, 'Drumming Fingers' first" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bits(
    jester: Path, start: Path, tmp_path: Path
) -> None:
    data = clips_of(jester, range(9))
    settings = FineTuning(**{**vars(QUICK), "steps": 6, "checkpoint_every": 3})
    for event in fine_tune(settings, start, data, tmp_path / "whole"):
        if event.done == 3:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for _ in fine_tune(settings, start, data, tmp_path / "killed"):
        pass
    one, two = (
        final_state(CheckpointFolder(tmp_path / name / "checkpoints"), 6)
        for name in ("whole", "killed")
    )
    for name in one:
        if "seconds" not in name:
            assert torch.equal(one[name], two[name]), name


def test_the_first_step_has_the_starts_weights_and_a_new_last_layer(
    jester: Path, start: Path, tmp_path: Path
) -> None:
    settings = FineTuning(**{**vars(QUICK), "steps": 1, "lr": 1e-12, "checkpoint_every": 1})
    for _ in fine_tune(settings, start, clips_of(jester, range(9)), tmp_path):
        pass
    trained = final_state(CheckpointFolder(tmp_path / "checkpoints"), 1)
    before = load_motion_classifier(str(start)).model.state_dict()
    assert trained["model.classifier.weight"].shape == (3, 16)
    for name, value in before.items():
        if not name.startswith("classifier"):
            assert torch.allclose(trained[f"model.{name}"], value, atol=1e-6), name


def test_what_cannot_be_fine_tuned_is_refused(jester: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="no class that can be fine-tuned"):
        list(fine_tune(QUICK, EMBEDDED_FOLDER, clips_of(jester, range(9)), tmp_path))
