"""Motion and regularization folders of the puppet world, as the loaders read them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from motion_ray.config import ClipConfig
from motion_ray.data.clips import load_motion_folder, load_regularization_folder
from motion_ray.data.puppets.__main__ import main
from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.folders import write_motion_folder, write_regularization_folder
from motion_ray.data.puppets.motions import BASE_MOTIONS, IMPROVISED, NAMED_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import render_scene
from motion_ray.data.video import read_clip
from motion_ray.errors import DataError

CLIPS = ClipConfig(frames=8, height=64, width=64)


def test_a_motion_folder_is_what_the_loader_wants(tmp_path: Path) -> None:
    scenes = write_motion_folder("swinging arms", tmp_path / "m", clips=7, seed=3)
    folder = load_motion_folder(tmp_path / "m")
    assert (folder.name, folder.token, folder.description) == (
        "swinging-arms",
        "pll",
        "swinging arms",
    )
    assert folder.template == "a person doing the <token>" and folder.flip
    assert len(folder.clips) == 7
    for scene, clip in zip(scenes, folder.clips, strict=True):
        assert scene.motion == "swinging arms" and scene.kind == "person" and scene.count == 1
        assert clip.caption == f"a {scene.colour} person doing the pll {scene.place}"
    # Seven clips cannot leave out one of six colours or places.
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.place for scene in scenes} == set(PLACES)


def test_the_files_show_the_scenes(tmp_path: Path) -> None:
    scenes = write_motion_folder("dabbing", tmp_path / "m", clips=3)
    for scene, clip in zip(scenes, load_motion_folder(tmp_path / "m").clips, strict=True):
        read, drawn = read_clip(clip.path, CLIPS).frames, render_scene(scene).frames
        assert read.shape == drawn.shape
        difference = (read.float() - drawn.float()).pow(2).mean()
        assert 10 * torch.log10(255**2 / difference) > 30  # dB; H.264 halves the colour resolution


def test_a_regularization_folder_names_no_motion_and_no_token(tmp_path: Path) -> None:
    count = len(BASE_MOTIONS) - 1
    scenes = write_regularization_folder(tmp_path / "r", clips=count, avoid="waving")
    clips = load_regularization_folder(tmp_path / "r", "pll")
    assert len(clips) == count
    # Base motions with names only: each once before any comes again, and nothing improvised.
    assert sorted(scene.motion for scene in scenes) == sorted(set(BASE_MOTIONS) - {"waving"})
    assert all(scene.also is None and scene.speed == "" for scene in scenes)
    for scene, clip in zip(scenes, clips, strict=True):
        assert clip.caption == f"a {scene.colour} person doing other things {scene.place}"


def test_another_kind_token_and_a_motion_with_a_side(tmp_path: Path) -> None:
    write_motion_folder("swiping down", tmp_path / "m", clips=1, kind="alien", token="sks")
    folder = load_motion_folder(tmp_path / "m")
    assert folder.template == "an alien doing the <token>" and not folder.flip
    assert re.fullmatch(r"a \w+ alien doing the sks .+", folder.clips[0].caption)


def test_equal_seeds_give_equal_scenes_and_other_seeds_others(tmp_path: Path) -> None:
    one = write_motion_folder("drumming", tmp_path / "1", clips=2, seed=1)
    assert one == write_motion_folder("drumming", tmp_path / "2", clips=2, seed=1)
    assert one != write_motion_folder("drumming", tmp_path / "3", clips=2, seed=2)


DRAW = """
import sys
from motion_ray.data.puppets.folders import write_regularization_folder
write_regularization_folder(sys.argv[1])
"""


def test_the_files_do_not_depend_on_what_lies_in_memory(tmp_path: Path) -> None:
    """Where they do, clips of one seed are other data to each process that draws them."""
    drawn: list[list[bytes]] = []
    for byte in ("1", "165"):  # glibc fills the memory that it gives with this
        folder, filled = tmp_path / byte, {**os.environ, "MALLOC_PERTURB_": byte}
        subprocess.run([sys.executable, "-c", DRAW, str(folder)], env=filled, check=True)
        drawn.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert len(drawn[0]) == 61
    assert drawn[0] == drawn[1]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_motion_folder(
        "drumming", tmp_path / "m", clips=2, on_progress=lambda *at: told.append(at)
    )
    assert told == [(1, 2), (2, 2)]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        write_motion_folder("drumming", tmp_path, clips=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError(f"stopped at {done} of {total}")

    with pytest.raises(RuntimeError):
        write_motion_folder("drumming", tmp_path / "m", clips=2, on_progress=fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"motion": "flying"}, "flying"),
        ({"motion": IMPROVISED}, IMPROVISED),  # each clip would show another motion
        ({"kind": "cat"}, "cat"),
        ({"clips": 0}, "at least 1"),
    ],
)
def test_wrong_wishes_are_refused(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_motion_folder(**{"motion": "drumming", "folder": tmp_path / "m", **arguments})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_unknown_motion_to_avoid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="flying") as error:
        write_regularization_folder(tmp_path / "r", clips=1, avoid="flying")
    assert error.value.where == "avoid" and IMPROVISED not in error.value.fix


def test_the_command_writes_both_folders_and_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--motion", "rolling arms", "--out", str(tmp_path), "--clips", "2"]
    line += ["--regularization-clips", "3"]
    assert main(line) == 0
    written = (tmp_path / "motion" / "motion.yaml").stat().st_mtime_ns
    assert len(load_regularization_folder(tmp_path / "regularization", "pll")) == 3
    assert main(line) == 0
    assert (tmp_path / "motion" / "motion.yaml").stat().st_mtime_ns == written
    assert "kept" in capsys.readouterr().out


def test_the_command_continues_after_an_interruption_between_the_folders(tmp_path: Path) -> None:
    write_motion_folder("rolling arms", tmp_path / "motion", clips=2)
    line = ["--motion", "rolling arms", "--out", str(tmp_path), "--clips", "2"]
    assert main([*line, "--regularization-clips", "1"]) == 0
    assert yaml.safe_load((tmp_path / "regularization" / "motion.yaml").read_text())["clips"]


def test_the_command_does_not_pass_one_motion_off_as_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion_folder("drumming", tmp_path / "motion", clips=2)
    assert main(["--motion", "dabbing", "--out", str(tmp_path), "--clips", "2"]) == 2
    error = capsys.readouterr().err
    assert "drumming" not in error and "dabbing" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "more", [["--kind", "alien"], ["--token", "sks"], ["--seed", "1"], ["--clips", "3"]]
)
def test_the_command_keeps_no_clips_that_other_arguments_drew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    write_motion_folder("drumming", tmp_path / "motion", clips=2)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    line = ["--motion", "drumming", "--out", str(tmp_path), "--clips", "2"]
    assert main([*line, "--regularization-clips", "1", *more]) == 2
    error = capsys.readouterr().err
    assert "is there already" in error and error.count("\n") == 1
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


def test_the_command_keeps_no_other_motions_of_another_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion_folder("drumming", tmp_path / "motion", clips=1)
    write_regularization_folder(tmp_path / "regularization", clips=2, seed=1)
    line = ["--motion", "drumming", "--out", str(tmp_path), "--clips", "1"]
    assert main([*line, "--regularization-clips", "2"]) == 2
    assert "regularization: is there already" in capsys.readouterr().err


def test_words_that_the_user_changed_do_not_keep_the_command_from_going_on(tmp_path: Path) -> None:
    line = ["--motion", "drumming", "--out", str(tmp_path), "--clips", "1"]
    line += ["--regularization-clips", "1"]
    assert main(line) == 0
    settings = tmp_path / "motion" / "motion.yaml"
    settings.write_text(settings.read_text().replace("description: drumming", "description: mine"))
    assert main(line) == 0


def test_a_file_in_the_place_of_the_folder_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").write_text("")
    assert main(["--motion", "drumming", "--out", str(tmp_path / "demo"), "--clips", "1"]) == 2
    error = capsys.readouterr().err
    assert "demo/motion: cannot be written: not a directory" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_command_names_the_motions_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--motion", "flying", "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "swinging arms" in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("line", [[], ["--motion", "drumming"], ["--out", "x"], ["--clips", "3"]])
def test_half_a_wish_is_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    error = capsys.readouterr().err
    assert "--motion" in error and "--sheet" in error and error.count("\n") == 1


def test_the_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in (*KINDS, *NAMED_MOTIONS):
        assert word in text
    assert IMPROVISED not in text
