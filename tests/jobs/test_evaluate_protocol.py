"""``python -m jobs.evaluate --motions ...`` from the command line, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.evaluate import main
from jobs.pretrain import main as pretrain
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.cluster.paths import TEMPORARY
from motion_ray.customization.delta import MotionDelta
from motion_ray.data.clips import content_hash, load_motion_folder
from motion_ray.evaluation.measurement import Part
from motion_ray.evaluation.measurement_files import read_table
from motion_ray.store import DeltaStore
from tests.deltas import changed, header
from tests.evaluation.fake_evaluators import build_tiny_classifier


@pytest.fixture
def line(tiny_bases: dict[str, Path], tiny_motion: dict[str, Path], tmp_path: Path) -> list[str]:
    backbone = load_backbone(str(tiny_bases["v_prediction"]), "cpu")
    clips = load_motion_folder(tiny_motion["motion"]).clips
    head = header(
        backbone,
        name="dabbing",
        sources={clip.path.name: content_hash(clip.path) for clip in clips},
        config={"seed": 1, "motion": str(tiny_motion["motion"])},
    )
    DeltaStore(tmp_path / "store").publish(MotionDelta(head, changed(backbone)), "dabbing")
    (tmp_path / "prompts.txt").write_text("a red robot <motion>\na blue bear <motion> at night\n")
    classifier = build_tiny_classifier(tmp_path / "classifier")
    words = ["--motions", "dabbing", "--store", str(tmp_path / "store")]
    words += ["--base", str(tiny_bases["v_prediction"]), "--classifier", str(classifier)]
    words += ["--prompts", str(tmp_path / "prompts.txt"), "--seeds", "0", "1"]
    words += ["--frames", "4", "--height", "32", "--width", "32"]
    words += ["--steps", "1", "--guidance", "1", "--threads", "1", "--copy-detector", "not run"]
    return [*words, "--out", str(tmp_path / "out")]


def test_the_whole_protocol_is_run_shown_and_kept(
    line: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert main(line) == 0
    assert "--clip-model: the embedded model knows drawn puppets only" in caplog.text
    shown = " ".join(capsys.readouterr().out.split())
    assert "No real clips that were not trained on were looked at" in shown
    assert "copy detector: not run" in shown and "2 prompts of the list 'prompts'" in shown
    rows, measured_with = read_table(tmp_path / "out" / "rows.parquet")
    assert [row.question.part for row in rows] == [Part.CUSTOMIZED] * 4 + [Part.BASE] * 4
    assert measured_with["copy detector"] == "not run"
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    accuracy = scores["groups"][0]["scores"]["motion accuracy"]
    assert accuracy["videos"] == 4 and accuracy["clusters"] == 2
    assert accuracy["value"] == sum(row.right for row in rows[:4]) / 4
    assert {each["metric"] for each in scores["comparisons"]} == {
        "motion accuracy",
        "CLIP appearance",
        "text alignment",
    }
    assert scores["videos"] == 8 and scores["failed"] == 0


def test_the_same_command_adds_nothing_and_another_model_is_refused(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--no-controls"]) == 0
    before = (tmp_path / "out" / "scores.json").read_bytes()
    assert main([*line, "--no-controls"]) == 0
    assert (tmp_path / "out" / "scores.json").read_bytes() == before
    assert main([*line, "--no-controls", "--guidance", "2"]) == 2
    assert "other models or settings (sampling)" in capsys.readouterr().err


def test_wrong_arguments_are_one_clear_line(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = line.index("--store")
    assert main([*line[:store], *line[store + 2 :]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --store") and error.count("\n") == 1
    assert main([*line, "--prompts", str(tmp_path / "nowhere.txt")]) == 2
    assert "a .txt or .yaml, or paper, puppet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base-only", "--seeds", "1"], "--seeds: has no effect with --base-only"),
        (["--base-only", "--store", "s"], "--store: has no effect with --base-only"),
        (["--motion", "a", "--store", "s", "--workers", "2"], "--workers: has no effect with --mo"),
        (["--motions", "a", "--store", "s", "--videos", "9"], "--videos: is not for --motions"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_submitted_job_must_not_write_into_the_folder_that_ray_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked = tmp_path / TEMPORARY / "package"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    assert main(["--base-only"]) == 2
    assert "--out scores: a relative path in a submitted job" in capsys.readouterr().err
    assert pretrain(["--stage", "world"]) == 2
    assert "--work pretrain: a relative path in a submitted job" in capsys.readouterr().err
    assert not list(unpacked.iterdir())
