"""Jester's files as its owner gives them out, made small: labels, splits, and motion folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.jester import main
from motion_ray.config import ClipConfig
from motion_ray.data.clips import load_motion_folder, load_regularization_folder
from motion_ray.data.jester import (
    GESTURES,
    REGULARIZATION,
    choose_clips,
    read_labels,
    read_split,
    write_gesture_folder,
    write_regularization_folder,
)
from motion_ray.data.video import read_clip
from motion_ray.errors import DataError
from motion_ray.evaluation.evaluated_motion import read_targets

LABELS = ("Swiping Left", "Drumming Fingers", "No gesture", "Swiping Down", "Doing other things")


@pytest.fixture
def jester(tmp_path: Path) -> Path:
    """Four clips of each class, of 14 frames in Jester's shape; csv files as they come."""
    frames = tmp_path / "20bn-jester-v1"
    lines = []
    for number in range(4 * len(LABELS)):
        folder = frames / str(100 + number)
        folder.mkdir(parents=True)
        for frame in range(1, 15):
            pixels = np.full((100, 132, 3), 10 * number + frame, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame:05d}.jpg")
        lines.append(f"{100 + number};{LABELS[number % len(LABELS)]}")
    (tmp_path / "jester-v1-labels.csv").write_text("\n".join(LABELS) + "\n")
    (tmp_path / "jester-v1-validation.csv").write_text("\r\n".join(lines) + "\r\n")
    return tmp_path


def test_class_numbers_are_those_of_the_sorted_labels(jester: Path) -> None:
    labels = read_labels(jester / "jester-v1-labels.csv")
    assert labels == (
        "Doing other things",
        "Drumming Fingers",
        "No gesture",
        "Swiping Down",
        "Swiping Left",
    )
    clips = read_split(jester / "jester-v1-validation.csv", jester / "20bn-jester-v1", labels)
    assert len(clips) == 20 and clips[3].label == "Swiping Down"
    assert clips[3].path == jester / "20bn-jester-v1" / "103"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("100;Waving", "no label 'Waving'"),
        ("999;No gesture", "is not there"),
        ("100", "id;label"),
        ("a;No gesture", "id;label"),
    ],
)
def test_a_wrong_line_is_named(jester: Path, line: str, fault: str) -> None:
    labels, split = read_labels(jester / "jester-v1-labels.csv"), jester / "split.csv"
    split.write_text(f"100;Swiping Left\n{line}\n")
    with pytest.raises(DataError, match=fault) as error:
        read_split(split, jester / "20bn-jester-v1", labels)
    assert "line 2" in str(error.value)


def test_labels_that_occur_twice_or_not_at_all_are_refused(jester: Path) -> None:
    path = jester / "labels.csv"
    for text in ("", "No gesture\nNo gesture\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="each label once"):
            read_labels(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(jester / "nowhere.csv")


def test_what_is_trained_on_and_what_is_held_out_share_no_clip(jester: Path) -> None:
    labels = read_labels(jester / "jester-v1-labels.csv")
    clips = read_split(jester / "jester-v1-validation.csv", jester / "20bn-jester-v1", labels)
    some = choose_clips(clips, "Swiping Down", 2, seed=0)
    rest = choose_clips(clips, "Swiping Down", 2, seed=0, after=2)
    assert choose_clips(clips, "Swiping Down", 2, seed=0) == some
    assert {clip.path for clip in some}.isdisjoint(clip.path for clip in rest)
    assert len({clip.path for clip in [*some, *rest]}) == 4
    with pytest.raises(DataError, match="has 4 clips of at least 1 pictures, not 5"):
        choose_clips(clips, "Swiping Down", 5, seed=0)


def test_customization_takes_the_folders_that_are_written(jester: Path) -> None:
    labels = read_labels(jester / "jester-v1-labels.csv")
    clips = read_split(jester / "jester-v1-validation.csv", jester / "20bn-jester-v1", labels)
    chosen = choose_clips(clips, "Swiping Down", 3, seed=0)
    write_gesture_folder(jester / "swiping-down", "Swiping Down", chosen)
    folder = load_motion_folder(jester / "swiping-down")
    assert (folder.name, folder.description, folder.flip) == (
        "swiping-down",
        GESTURES["Swiping Down"],
        False,
    )
    assert {clip.caption for clip in folder.clips} == {"a person doing a pll sign"}
    read = read_clip(folder.clips[0].path, ClipConfig(frames=7, fps=6), frame_fps=12.0)
    assert read.frames.shape == (7, 3, 100, 132)
    write_regularization_folder(jester / "other", clips, each=4)
    others = load_regularization_folder(jester / "other", "pll")
    assert len(others) == 8 and {clip.caption for clip in others} == set(REGULARIZATION.values())
    for other in (chosen[:2], chosen[::-1]):
        with pytest.raises(DataError, match="already"):
            write_gesture_folder(jester / "swiping-down", "Swiping Down", other)
    with pytest.raises(DataError, match="already"):
        write_gesture_folder(jester / "swiping-down", "Swiping Down", chosen, "sks")


def test_the_job_makes_folders_and_targets_that_fit_together(
    jester: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--jester", str(jester), "--out", str(jester / "clips"), "--gestures", "Swiping Down"]
    assert main([*line, "--clips", "2", "--held-out", "2", "--each", "3", "--pictures", "14"]) == 0
    capsys.readouterr()
    assert main([*line[:2], "--out", str(jester / "long"), *line[4:], "--pictures", "15"]) == 2
    assert "has 0 clips of at least 15 pictures" in capsys.readouterr().err
    [target] = read_targets(jester / "clips" / "targets.yaml").values()
    assert (target.label, target.description) == ("Swiping Down", "swiping hand down")
    assert target.training is not None and target.held_out is not None
    learned, held_out = (load_motion_folder(each) for each in (target.training, target.held_out))
    assert learned.clips[0].caption == f"a person {target.phrase}".replace("<token>", "pll")
    assert {c.path.name for c in learned.clips}.isdisjoint(c.path.name for c in held_out.clips)
    assert len(load_regularization_folder(jester / "clips" / "regularization", "pll")) == 6
    assert main([*line[:4], "--gestures", "Waving"]) == 2
    assert "there is no 'Waving'" in capsys.readouterr().err


def files(folder: Path) -> dict[Path, int]:
    """Everything below, with the time of its last change."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_the_job_writes_nothing_before_all_clips_are_chosen_and_can_be_given_again(
    jester: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (101, 106, 111):  # all drumming but one clip is too short
        (jester / "20bn-jester-v1" / str(number) / "00001.jpg").unlink()
    out = jester / "clips"
    line = ["--jester", str(jester), "--out", str(out), "--pictures", "14", "--held-out", "2"]
    line += ["--clips", "2", "--gestures", "Swiping Down"]
    assert main([*line, "Drumming Fingers", "--each", "3"]) == 2
    assert "Drumming Fingers: has 1 clips" in capsys.readouterr().err and not out.exists()
    assert main([*line, "--each", "5"]) == 2  # of the regularization classes
    assert "has 4 clips" in capsys.readouterr().err and not out.exists()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("jobs.jester.write_text_atomic", interrupted)
        main([*line, "--each", "3"])
    before = files(out / "motions")
    assert main([*line, "--each", "3"]) == 0 and main([*line, "--each", "3"]) == 0
    assert files(out / "motions") == before and (out / "targets.yaml").is_file()


def test_the_job_replaces_nothing(jester: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = jester / "clips"
    line = ["--jester", str(jester), "--out", str(out), "--pictures", "14", "--held-out", "2"]
    line += ["--clips", "2", "--each", "3", "--gestures"]
    assert main([*line, "Swiping Down"]) == 0
    before = files(out)
    assert main([*line, "Drumming Fingers"]) == 2
    assert "targets.yaml: is there already" in capsys.readouterr().err
    assert main([*line, "Swiping Down", "--seed", "1"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert files(out) == before


@pytest.mark.parametrize("option", ["--clips", "--held-out", "--each", "--pictures"])
@pytest.mark.parametrize("count", ["0", "-1"])
def test_counts_are_at_least_one(
    jester: Path, capsys: pytest.CaptureFixture[str], option: str, count: str
) -> None:
    line = ["--jester", str(jester), "--out", str(jester / "clips"), option, count]
    assert main([*line, "--gestures", "Swiping Down"]) == 2
    assert f"{option}: is at least 1, got {count}" in capsys.readouterr().err
    assert not (jester / "clips").exists()


def test_no_clips_are_no_choice() -> None:
    with pytest.raises(DataError, match="at least 1 clip"):
        choose_clips([], "Swiping Down", 0, seed=0)
