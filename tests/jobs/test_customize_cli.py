"""Bad input to ``python -m jobs.customize``: exit code 2, one line that says what is wrong, nothing
written, no cluster started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.customize import main
from motion_ray.config import CustomizationConfig
from motion_ray.customization.run import RunFolder
from motion_ray.types import RunFinished


@pytest.fixture
def recipe(tiny_run: CustomizationConfig, tmp_path: Path) -> Path:
    """The tiny run as a recipe file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_run.model_dump(mode="json")))
    return path


@pytest.fixture
def good(recipe: Path, tiny_run: CustomizationConfig, tmp_path: Path) -> list[str]:
    """A command line that would run; tests spoil it."""
    out = str(tmp_path / "out")
    return ["--recipe", str(recipe), "--motion", tiny_run.motion, "--out", out, "--plain"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one error line of a call that must be refused."""
    assert main(arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    return errors[0]


def changed(arguments: list[str], option: str, value: str) -> list[str]:
    """The same command line with another value for an option."""
    at = arguments.index(option) + 1
    return [*arguments[:at], value, *arguments[at + 1 :]]


@pytest.mark.parametrize(
    ("spoiled", "named"),
    [
        (["--set", "optimizer.lrr=1"], "optimizer.lrr"),
        (["--set", "max_steps=many"], "max_steps"),
        (["--set", "max_steps"], "path=value"),
        (["--set", "base_model=x"], "base_model"),
        (["--base", "/no/such/base"], "/no/such/base"),
        (["--set", "regularization.folder=/no/such/clips"], "/no/such/clips"),
        (["--recipe", "papr"], "papr"),
        (["--set", "validation.floor={clip_model: '', value: 0.2}"], "floor.clip_model: a floor"),
        (["--set", "validation.floor={clip_model: /no/clip, value: 0.2}"], "/no/clip: there is no"),
        (["--motion", "/no/such/motion"], "/no/such/motion"),
        (["--set", "clips.frames=64"], "0.mp4"),
        (["--set", "name=Swing It"], "Swing It"),
        (["--store", "nosuchprotocol://bucket"], "nosuchprotocol"),
        (["--store", __file__], "is a file; --store names a folder"),
        (["--cache", __file__], "is a file; --cache names a folder"),
        (["--out", f"{__file__}/out"], "lies below a file"),
        (["--address", "http://127.0.0.1:8265"], "ray job submit"),
        (["--address", "ray://127.0.0.1:10001"], "host:port"),
        (["--address", "127.0.0.1"], "is not host:port"),
        (["--address", "127.0.0.1:1"], "nothing answers there"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_written(
    spoiled: list[str],
    named: str,
    good: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert named in refused([*good, *spoiled], capsys)
    assert not (tmp_path / "out").exists()


def test_a_caption_without_the_token_is_named(
    good: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny import write_tiny_clips

    motion = write_tiny_clips(tmp_path / "motion", "a person doing something", clips=1)
    line = refused(changed(good, "--motion", str(motion)), capsys)
    assert "pll" in line and "0.txt" in line


def test_a_base_with_a_pickle_is_refused(
    good: list[str],
    tiny_run: CustomizationConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    base = shutil.copytree(tiny_run.base, tmp_path / "base")
    (base / "unet" / "extra.bin").write_bytes(b"\x80\x04.")
    assert "extra.bin" in refused([*good, "--base", str(base)], capsys)


def test_the_folder_of_another_run_is_left_alone(
    good: list[str],
    tiny_run: CustomizationConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = RunFolder(tmp_path / "out")
    with other.claim(tiny_run.replace({"seed": 99})):
        (other.checkpoints / "step-00000100").mkdir(parents=True)
    before = sorted(p.name for p in other.root.iterdir())
    assert "seed was 99, now 0" in refused(good, capsys)
    assert sorted(p.name for p in other.root.iterdir()) == before


def test_a_folder_with_other_files_is_left_alone(
    good: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    assert "holds files but no run" in refused(good, capsys)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("option", ["--out", "--store"])
def test_a_submitted_job_must_not_write_into_the_folder_that_ray_deletes(
    option: str,
    good: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unpacked = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    line = refused([*good, option, "runs/mine"], capsys)
    assert f"{option} runs/mine" in line and "absolute path" in line
    assert list(unpacked.iterdir()) == []


def test_a_finished_run_tells_its_result_without_a_cluster(
    good: list[str],
    tiny_run: CustomizationConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunFolder(tmp_path / "out")
    result = RunFinished(6, 6, "max_steps", "slide@1", "store", str(run.report))
    with run.claim(tiny_run):
        run.finish(result)
    assert main(good) == 0
    printed = capsys.readouterr().out
    assert "slide@1" in printed and str(run.report) in printed
    assert main([*good, "--store", str(tmp_path / "other")]) == 2  # nothing would land there
    assert "which is finished, has published into: store" in capsys.readouterr().err


def test_the_module_runs_as_a_program_and_starts_no_cluster_for_bad_input(tmp_path: Path) -> None:
    program = (
        "import json, sys\nfrom jobs.customize import main\n"
        "code = main(['--motion', '/no/such', '--out', sys.argv[1]])\n"
        "print(json.dumps([code, 'ray' in sys.modules]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert json.loads(ran.stdout) == [2, False], ran.stderr


def test_what_belongs_to_a_single_run_is_refused_for_a_sweep(
    good: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main([*good, "--sweep", str(sweep), "--cache", str(tmp_path / "cache")])
    assert ended.value.code == 2
    assert "--cache belongs to a single run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--resources", "gpu=1"], ["--retry-failed"], ["--work", "w"]])
def test_what_belongs_to_a_sweep_is_refused_for_a_single_run(
    words: list[str], good: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*good, *words])
    assert ended.value.code == 2
    assert f"{words[0]} belongs to a sweep" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
