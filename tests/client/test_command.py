"""The command line: what it prints where, its exit codes, and Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from motion_ray.client.command import main
from motion_ray.client.display import LiveDisplay, PlainDisplay, display_for, printable
from motion_ray.client.values import VideoEvent
from motion_ray.serving.jobs import JobState
from motion_ray.serving.key_file import KeyLimits, Scope, create_key
from motion_ray.serving.keys import ApiKeys
from tests.client.conftest import Live, Serve
from tests.serving.http.toy_server import CRASHES
from tests.serving.toy import toy_delta
from tests.waiting import until

PROMPT = "a red robot doing the pll"


@pytest.fixture
def here(live: Live, monkeypatch, tmp_path: Path) -> Live:
    """The server by its variable, and an empty working folder."""
    monkeypatch.setenv("MOTION_RAY_URL", live.url)
    monkeypatch.delenv("MOTION_RAY_API_KEY", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return live


def test_a_prompt_is_all_it_takes(here: Live, capsys):
    assert main([PROMPT]) == 0
    said = capsys.readouterr()
    (file,) = Path.cwd().iterdir()
    assert said.out == f"{file.name}\n" and file.name.startswith("video_")
    assert "queued 0%" in said.err and "arms@1, seed " in said.err


def test_a_job_can_be_left_and_taken_up_again(here: Live, capsys):
    options = ["--seed", "5", "--frames", "3", "--motion", "arms@1=0.5", "--no-wait"]
    assert main(["generate", PROMPT, *options]) == 0
    video = capsys.readouterr().out.strip()
    assert main(["watch", video, "--out", "robot.mp4"]) == 0
    assert capsys.readouterr().out == "robot.mp4\n"
    assert b"seed 5" in Path("robot.mp4").read_bytes()
    request = here.toy.jobs.get(video).request
    assert (request["frames"], request["motions"][0]["weight"]) == (3, 0.5)


def test_lists_for_people_and_for_programs(here: Live, capsys):
    assert main([PROMPT, "--out", "x.mp4", "--no-motion"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "completed 100%" in line and line.endswith(PROMPT)
    assert main(["list", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == PROMPT
    assert main(["motions"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["arms@1", "pll", "a", "person", "doing", "the", "pll"]
    assert second.startswith("hat@1")


def test_jobs_are_cancelled_by_their_ids(here: Live, capsys):
    here.toy.engine.go_on.clear()
    ids = []
    for _ in range(2):
        main([PROMPT, "--no-wait"])
        ids.append(capsys.readouterr().out.strip())
    assert main(["cancel", *ids]) == 0
    assert capsys.readouterr().out.count("video_") == 2
    assert main(["watch", ids[1]]) == 2
    assert "was cancelled" in capsys.readouterr().err


def test_one_that_cannot_be_cancelled_keeps_no_other_from_it(here: Live, capsys):
    here.toy.engine.go_on.clear()
    main([PROMPT, "--no-wait"])
    video = capsys.readouterr().out.strip()
    assert main(["cancel", "video_nothere", video]) == 2
    said = capsys.readouterr()
    assert "there is no such job" in said.err and said.out.startswith(video)
    assert here.toy.jobs.get(video).cancelling or here.toy.jobs.get(video).state.final


def test_a_job_that_is_to_stop_is_shown_as_such(here: Live, capsys):
    here.toy.engine.go_on.clear()
    main([PROMPT, "--no-wait"])
    video = capsys.readouterr().out.strip()
    assert here.toy.engine.entered.wait(20)
    assert main(["cancel", video]) == 0
    assert " cancelling " in capsys.readouterr().out
    here.toy.engine.go_on.set()


@pytest.mark.parametrize(("word", "meant"), [("lst", "list"), ("cancle", "cancel")])
def test_a_mistyped_command_makes_no_video(here: Live, capsys, word: str, meant: str):
    assert main([word]) == 2
    assert f"the command is {meant}; to show '{word}': generate {word}" in capsys.readouterr().err
    assert not here.toy.jobs.page().jobs
    assert main(["generate", word, "--no-motion", "--no-wait"]) == 0


def test_who_reads_only_the_beginning_is_enough(here: Live):
    """As head does."""
    command = [sys.executable, "-m", "motion_ray.client", "motions", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_video_that_nobody_was_told_of_is_no_success(here: Live):
    command = [sys.executable, "-m", "motion_ray.client", PROMPT, "--no-wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


def test_a_motion_is_published(here: Live, capsys, tmp_path):
    toy_delta(9, token="zwx").save(tmp_path / "delta")
    assert main(["publish", f"{tmp_path / 'delta'}", "--name", "jump"]) == 0
    assert capsys.readouterr().out.startswith("jump@1")
    assert main(["publish", "/srv/motions", "--name", "jump", "--from-server"]) == 2
    assert "lies in no place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["a robot doing the xqz"], "known tokens: pll (arms)"),
        ([PROMPT, "--size", "7"], "size: is WIDTHxHEIGHT"),
        ([PROMPT, "--motion", "arms=heavy"], "--motion: 'arms=heavy' is no motion"),
        ([PROMPT, "--motion", "arms", "--no-motion"], "contradicts"),
        ([PROMPT, "--seed", f"{CRASHES}"], "the server made a mistake"),
        (["watch", "video_1"], "there is no such job"),
        (["list", "--url", "nowhere"], "is no URL"),
        (["--url", "http://127.0.0.1:8000", "list"], "the command goes first"),
        (["publish", "nowhere", "--name", "jump"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(here: Live, capsys, argv, text):
    assert main(argv) == 2
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and text in errors[0] and said.out == ""
    assert "Traceback" not in said.err


def test_no_server_is_told_with_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("MOTION_RAY_URL", "http://127.0.0.1:9")
    assert main(["motions"]) == 2
    assert "start one (python -m motion_ray.serving.http)" in capsys.readouterr().err


def test_the_key_comes_from_its_variable(serve: Serve, monkeypatch, capsys, tmp_path):
    secret = create_key(tmp_path / "keys", "ann", frozenset({Scope.GENERATE}), KeyLimits())
    monkeypatch.setenv("MOTION_RAY_URL", serve(ApiKeys.load(tmp_path / "keys")).url)
    monkeypatch.delenv("MOTION_RAY_API_KEY", raising=False)
    assert main(["motions"]) == 2
    assert "MOTION_RAY_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("MOTION_RAY_API_KEY", secret)
    assert main(["motions"]) == 0


def test_ctrl_c_cancels_the_job(here: Live):
    here.toy.engine.go_on.clear()
    command = [sys.executable, "-m", "motion_ray.client", PROMPT]
    # What a shell starts in the background ignores Ctrl-C, and so do children of it: not this one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert here.toy.engine.entered.wait(60) and process.stderr is not None
            while "loading" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    (job,) = here.toy.jobs.page().jobs
    assert f"cancelling {job.id}" in err
    until(lambda: here.toy.jobs.get(job.id).state.final)
    assert here.toy.jobs.get(job.id).state is JobState.CANCELLED
    assert here.toy.engine.steps == 0


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines():
    stream = io.StringIO()
    assert isinstance(display_for(stream), PlainDisplay)
    screen = Console(file=stream, force_terminal=True, width=80)
    with LiveDisplay(screen) as display:
        display.show(VideoEvent(1, "in_progress", {}))
        display.show(VideoEvent(2, "progress", {"progress": 40}))
        display._progress.refresh()
    assert "denoising" in stream.getvalue() and "40%" in stream.getvalue()


def test_lines_about_progress_are_few(capsys):
    display = PlainDisplay(sys.stderr)
    for percent in range(100):
        display.show(VideoEvent(percent, "progress", {"progress": percent}))
    assert capsys.readouterr().err == "denoising 0%\n"


def test_text_from_a_server_cannot_steer_a_terminal():
    assert printable("a\x1b[2J\x07\nb\u202ec") == "a [2J  b c"
