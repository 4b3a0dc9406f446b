"""jobs/pretrain.py from the command line to a folder that loads."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from jobs import pretrain
from jobs.pretrain import main
from jobs.pretrain_base import base_workspace
from jobs.pretrain_evaluators import card_command
from jobs.pretrain_view import follow
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.workspace import Workspace

REPO = Path(__file__).resolve().parents[2]
TINY = ["scenes=8", "steps=2", "batch=8", "checkpoint_every=1", "warmup=1"]


@pytest.mark.slow
def test_the_clip_stage_writes_a_folder_that_loads_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--stage", "clip", "--out", str(tmp_path / "clip"), "--threads", "1"]
    line += ["--test-scenes", "6"]
    line += [word for change in TINY for word in ("--set", change)]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "zero-shot accuracy" in shown and "steps=2" in shown
    encoder = load_image_text_encoder(str(tmp_path / "clip"))
    assert encoder.encode_texts(["a robot"]).shape == (1, 96)
    assert main(line) == 2  # the folder is there already
    assert "is there already" in capsys.readouterr().err


def test_an_unknown_setting_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--stage", "clip", "--out", str(tmp_path / "clip"), "--set", "stepz=1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --set stepz") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more",
    [
        ["--tiny"],
        ["--device", "gpu"],
        ["--workers", "2"],
        ["--address", "auto"],
        ["--init", "base"],
        ["--scores", "scores.json"],
        ["--score-videos", "0"],
    ],
)
def test_what_has_no_effect_on_a_judge_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert main(["--stage", "motion", "--out", str(tmp_path / "motion"), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {more[0]}: is for stages of the base model, not for motion")
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_command_in_a_judges_card_runs_it_again() -> None:
    line = ["--stage", "clip", "--out", "clip", "--base", "my base", "--set", "steps=2"]
    options = pretrain.arguments().parse_args([*line, "--test-scenes", "6", "--work", "/tmp/work"])
    assert shlex.split(card_command("clip", options)) == [
        *("python", "-m", "jobs.pretrain", "--stage", "clip", "--out", "clip"),
        *("--base", "my base", "--test-scenes", "6", "--set", "steps=2"),
    ]
    options = pretrain.arguments().parse_args(["--stage", "motion", "--out", "new"])
    assert card_command("motion", options) == "python -m jobs.pretrain --stage motion --out motion"


# --- stages of the base model ---------------------------------------------------------------------


def base(work: Path, stage: str, *more: str) -> list[str]:
    return ["--stage", stage, "--work", str(work), "--threads", "1", "--tiny", *more]


def test_a_stage_says_where_it_is_what_it_took_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(base(tmp_path, "world", "--set", "clips=6", "--set", "clips_per_part=3")) == 0
    shown = capsys.readouterr().out
    assert "drawing 2/2" in shown and "world finished" in shown and "next: --stage text" in shown
    record = Workspace(tmp_path).record("world")
    assert record.settings["clips"] == 6
    assert record.command == (
        "python -m jobs.pretrain --stage world --set clips=6 --set clips_per_part=3 --tiny"
    )
    assert "1 threads" in record.device
    assert main(base(tmp_path, "world", "--set", "clips=6", "--set", "clips_per_part=3")) == 0
    assert "was finished before" in capsys.readouterr().out


def test_weights_to_start_from_are_found_from_anywhere_and_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = base(tmp_path / "work", "vae", "--init", "made/base", "--workers", "2")
    workspace = base_workspace(pretrain.arguments().parse_args(line))
    assert workspace.start == tmp_path / "made" / "base"
    assert workspace.command == (
        "python -m jobs.pretrain --stage vae --tiny --init made/base --workers 2"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["text"], "run --stage world"),
        (["world", "--set", "clip=1"], "--set clip: there is no such setting"),
        (["world", "--set", "clips=0"], "is positive"),
        (["world", "--init", "somewhere"], "does not start from weights"),
        (["world", "--out", "world"], "--out: has no effect on the stage world"),
        (["world", "--scores", "scores.json"], "--scores: has no effect on the stage world"),
        (["world", "--workers", "0"], "--workers: is at least 1, got 0"),
        (["world", "--address", "auto"], "--address: is where several workers share a stage"),
        (["export", "--out", "base", "--workers", "2"], "--workers: has no effect on an export"),
        (["export"], "--out: names the new folder"),
        (["export", "--out", "base"], "run --stage text"),
        (["clip"], "--out: names the new folder"),
        (["clip", "--out", "clip"], "--tiny: is for stages of the base model, not for clip"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str], message: str
) -> None:
    assert main(base(tmp_path / "work", *line)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(pretrain.STAGES, "world", interrupted)
    assert main(base(tmp_path, "world")) == 130
    assert "the same command goes on from the last checkpoint" in capsys.readouterr().err


def test_lines_tell_the_loss_and_the_time_left() -> None:
    output = io.StringIO()
    events = [TrainingProgress("training", done, 4, 0.0, done / 10) for done in range(5)]
    last = follow(iter(events), Console(file=output, width=200))
    assert last == events[-1]
    assert output.getvalue().splitlines() == [
        "training 0/4, loss 0.000",
        "training 4/4, loss 0.400",
    ]


@pytest.mark.slow
def test_a_stage_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert main(base(work, "world")) == 0
    line = base(work, "text", "--set", "steps=300", "--set", "checkpoint_every=20")
    command = [sys.executable, "-m", "jobs.pretrain", *line]
    checkpoints = Workspace(work).checkpoints("text")
    running = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not checkpoints.steps():
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert not Workspace(work).finished("text")
    found = checkpoints.latest()
    assert found is not None and found.step < 300
    assert main(line) == 0
    other = tmp_path / "other"
    assert main(base(other, "world")) == 0
    assert main(base(other, "text", "--set", "steps=300", "--set", "checkpoint_every=20")) == 0
    assert Workspace(work).record("text").output == Workspace(other).record("text").output
    lines = [Workspace(each).metrics("text").read() for each in (work, other)]
    assert lines[0] == lines[1] and len(lines[0]) == 150
