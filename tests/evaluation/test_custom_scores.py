"""Scoring a customized motion, the sheet of videos, and jobs/evaluate.py from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs.evaluate import main
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.data.puppets.bodies import KINDS
from motion_ray.errors import ConfigError
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.custom_scores import custom_prompts, motion_of
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.rows import RowFile
from motion_ray.evaluation.scored_videos import PUPPET_SAMPLING, Bench, score_generated
from motion_ray.evaluation.sheet import TEXT_WIDTH, write_video_sheet
from motion_ray.store import DeltaStore
from tests.deltas import changed, header
from tests.evaluation.fake_evaluators import build_tiny_classifier


def test_prompts_ask_unseen_kinds_for_the_token() -> None:
    prompts = custom_prompts("dabbing", "pll", 8)
    assert [p.scene.kind for p in prompts].count("person") == 0
    assert {p.scene.kind for p in prompts} == set(KINDS) - {"person"}
    assert all("doing the pll" in p.text for p in prompts)
    assert {p.scene.kind for p in custom_prompts("dabbing", "pll", 8, "crab")} == set(KINDS) - {
        "crab"
    }
    with pytest.raises(ConfigError, match="none of the puppet world's"):
        custom_prompts("juggling", "pll", 8)


def test_a_motion_is_found_by_the_short_form_of_its_name() -> None:
    assert motion_of("star-jumping") == motion_of("star jumping") == "star jumping"
    with pytest.raises(ConfigError, match="say which one"):
        motion_of("my-motion")


def test_a_sheet_has_a_row_for_each_video(tmp_path: Path) -> None:
    videos = [torch.full((3, 3, 16, 16), shade, dtype=torch.uint8) for shade in (0, 200)]
    write_video_sheet(tmp_path / "sheet.png", videos, ["black", "grey " * 30])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (TEXT_WIDTH + 3 * 16, 2 * (16 + 6))
        assert sheet.getpixel((TEXT_WIDTH + 40, 8)) == (0, 0, 0)
        assert sheet.getpixel((TEXT_WIDTH + 40, 30)) == (200, 200, 200)
    with pytest.raises(ValueError, match="one text a video"):
        write_video_sheet(tmp_path / "other.png", videos, ["black"])


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def line(tiny_bases: dict[str, Path], tmp_path: Path) -> list[str]:
    classifier = build_tiny_classifier(tmp_path / "classifier")
    words = ["--base", str(tiny_bases["v_prediction"]), "--classifier", str(classifier)]
    words += ["--steps", "1", "--guidance", "1", "--threads", "1", "--videos", "2"]
    return [*words, "--out", str(tmp_path / "out")]


def test_the_base_alone_is_scored(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--base-only", "--named-each", "0", *line]) == 0
    shown = capsys.readouterr().out
    for text in ("kind", "colour", "place", "motion", "real clips", "floor"):
        assert text in shown
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["generated"]["kind"]["of"] == scores["ceiling"]["motion"]["of"] == 2
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == 5
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_a_motion_of_a_store_is_scored_and_the_base_left_as_it_was(
    line: list[str],
    tiny_bases: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backbone = load_backbone(str(tiny_bases["v_prediction"]), "cpu")
    delta = MotionDelta(header(backbone, name="dabbing"), changed(backbone))
    DeltaStore(tmp_path / "store").publish(delta, "dabbing")
    words = ["--store", str(tmp_path / "store"), "--motion", "dabbing", *line]
    assert main(words) == 0
    assert "without it" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["motion"] == "dabbing" and scores["measured_with"]["delta"] == delta.sha256
    assert scores["after"]["motion"]["of"] == scores["before"]["motion"]["of"] == 2
    bench = Bench(
        load_backbone(str(tiny_bases["v_prediction"]), "cpu"),
        load_motion_classifier(str(tmp_path / "classifier")),
        load_image_text_encoder("puppet"),
        PUPPET_SAMPLING.model_copy(update={"steps": 1, "guidance": 1.0}),
    )
    bare = score_generated(bench, custom_prompts("dabbing", "pll", 2), RowFile(None, {}), "bare")
    before = scores["appearance_before"]
    assert before == pytest.approx(sum(row.seen.appearance for row in bare) / 2, abs=1e-5)
    assert before != pytest.approx(scores["appearance"], abs=1e-3)


def test_wrong_arguments_are_one_clear_line(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--motion", "dabbing", *line]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --store") and error.count("\n") == 1
