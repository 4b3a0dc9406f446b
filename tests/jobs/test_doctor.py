"""The doctor as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from jobs.doctor import main
from motion_ray.data.video import write_video
from tests.data.media import numbered, write_pictures, write_sound, write_timed_gif

SMALL = ("clips.frames=4", "clips.fps=8", "clips.height=32", "clips.width=32", "batch_size=1")
SETTINGS = (*SMALL, "engine.threads=1", "augmentation.variants=3")
NO_FLOOR = ("validation.floor=null",)  # no CLIP model is loaded


@pytest.fixture
def motion(tmp_path) -> Path:
    root = tmp_path / "waving"
    root.mkdir()
    for i in range(3):
        write_video(root / f"{i}.mp4", numbered(7, 48, 64, first=20 * i), 8)
    write_timed_gif(root / "3.gif", numbered(7, first=60), [120] * 7)
    write_pictures(root / "4", numbered(10, first=80))
    (root / "motion.yaml").write_text(yaml.safe_dump({"template": "a <token>"}))
    return root


@pytest.fixture
def others(tmp_path) -> Path:
    root = tmp_path / "others"
    root.mkdir()
    write_video(root / "walk.mp4", numbered(7, first=100), 8)
    (root / "walk.txt").write_text("a walk")
    return root


def doctor(
    base: Path,
    motion: Path,
    out: Path,
    *sets: str,
    recipe: str = "puppet",
    floor: tuple[str, ...] = NO_FLOOR,
) -> int:
    arguments = ["--motion", str(motion), "--base", str(base), "--out", str(out)]
    for assignment in (*SETTINGS, *floor, *sets):
        arguments += ["--set", assignment]
    return main([*arguments, "--recipe", recipe])


def lines(capsys: pytest.CaptureFixture[str], kind: str) -> list[str]:
    """The problems of a kind, each on one line."""
    out = capsys.readouterr().out.splitlines()
    found = [line.removeprefix(f"{kind}: ") for line in out if line.startswith(f"{kind}: ")]
    counts = {"error": "errors", "warning": "warnings"}
    assert f"{len(found)} {counts[kind]}" in out[-1]
    return found


def test_a_good_folder(tiny_bases, motion, others, tmp_path, capsys):
    out = tmp_path / "out"
    folder = f"regularization.folder={others}"
    assert doctor(tiny_bases["epsilon"], motion, out, folder) == 0
    text = capsys.readouterr().out
    assert "0 errors, 0 warnings" in text
    assert "motion waving: V* is pll, not mirrored" in text
    for clip in ("0.mp4", "1.mp4", "2.mp4", "3.gif", "4", "walk.mp4"):
        assert clip in text
    assert "a pll" in text and "2 of 4" in text and "a walk" in text
    for what in (
        "peak memory",
        "one step",
        "videos",
        "both",
        "measured for this machine's CPU",
        "delta",
    ):
        assert what in text
    with Image.open(out / "contact_sheet.png") as sheet:
        # label, three variants of four frames; a row for each clip
        assert sheet.size == (230 + 3 * (4 * 32 + 12), 28 + 6 * (32 + 12))
    assert [path.name for path in out.iterdir()] == ["contact_sheet.png"]


def test_every_problem_is_found_in_one_visit(tiny_bases, motion, others, tmp_path, capsys):
    write_sound(motion / "5.mp4")
    (motion / "6.mp4").write_bytes(b"no video at all")
    (motion / "7.mp4").write_bytes((motion / "0.mp4").read_bytes()[:-100])
    write_video(motion / "8.mp4", numbered(3), 8)
    (motion / "4" / "00005.jpg").unlink()
    (motion / "1.txt").write_text("a person")
    (motion / "2.txt").write_text("a " * 60 + "pll")
    (motion / "motion.yaml").write_text("template: a <token>\ncolour: red\n")
    (others / "walk.txt").write_text("a pll walk")
    folder = f"regularization.folder={others}"
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", folder) == 2
    errors = lines(capsys, "error")
    for expected in (
        "5.mp4: holds only sound",
        "6.mp4: is damaged, or no mp4",
        "7.mp4: is cut off",
        "8.mp4: needs 4 frames at 8 fps = 0.5 s, has 0.4 s (3 frames)",
        "4: a picture is missing after 00004.jpg",
        "1.txt: the caption 'a person' lacks the token",
        "2.mp4: the token is cut off",
        "motion.yaml: colour: there is no such key",
        "walk.txt: a regularization caption must not contain 'pll'",
    ):
        assert sum(expected in line for line in errors) == 1, (expected, errors)
    # the caption without the token is also reported by the tokenizer's view of it
    assert len(errors) == 10
    assert (tmp_path / "out" / "contact_sheet.png").exists()


def test_missing_regularization_and_a_wrong_model(motion, tmp_path, capsys):
    assert doctor(tmp_path / "no-base", motion, tmp_path / "out") == 2
    errors = lines(capsys, "error")
    assert any("regularization.folder: real regularization needs" in line for line in errors)
    assert any("no-base" in line for line in errors) and len(errors) == 2


def test_a_wrong_setting_does_not_hide_wrong_captions(tiny_bases, motion, tmp_path, capsys):
    (motion / "1.txt").write_text("a person")
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", "optimizer.lrr=1") == 2
    errors = lines(capsys, "error")
    assert len(errors) == 2
    assert "optimizer.lrr: there is no such setting" in errors[0] and "1.txt" in errors[1]
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", recipe="nope") == 2
    assert "recipe 'nope'" in lines(capsys, "error")[0]
    assert not (tmp_path / "out").exists()


def test_settings_that_a_run_refuses_are_found(tiny_bases, motion, tmp_path, capsys):
    sets = ("name=Swing It", "motion_clips=9", "validation.prompts=[]")
    none = "regularization.source=none"
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", none, *sets, floor=()) == 2
    errors = lines(capsys, "error")
    for expected in ("name 'Swing It'", "motion_clips: asks for 9 clips", "validation.prompts: an"):
        assert sum(expected in line for line in errors) == 1, (expected, errors)
    assert len(errors) == 3


def test_warnings_do_not_stop(tiny_bases, motion, tmp_path, capsys):
    (motion / "motion.yaml").write_text("template: a <token>\ntoken: zq\n")
    (motion / "clip.avi").write_bytes(b"RIFF")
    sets = ("regularization.source=none", "clips.fps=16")
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", *sets) == 0
    warnings = lines(capsys, "warning")
    for expected in (
        "clip.avi: left out",
        "token 'zq': the tokenizer splits it into 2 pieces",
        "0.mp4: has 8 fps, sampled at 16: frames repeat",
    ):
        assert sum(expected in line for line in warnings) == 1, (expected, warnings)


def test_a_clip_model_that_cannot_be_loaded(tiny_bases, motion, tmp_path, capsys):
    floor = ("validation.floor.clip_model=no-clip",)
    none, out = "regularization.source=none", tmp_path / "out"
    assert doctor(tiny_bases["epsilon"], motion, out, none, floor=floor) == 2
    errors = lines(capsys, "error")
    assert len(errors) == 1 and "no-clip" in errors[0]


def test_an_output_folder_that_cannot_be_written(tiny_bases, motion, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    none = "regularization.source=none"
    assert doctor(tiny_bases["epsilon"], motion, tmp_path / "out", none) == 2
    [error] = lines(capsys, "error")
    assert "contact_sheet.png" in error
