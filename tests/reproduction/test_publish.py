"""The small form of a report: Markdown tables, drawings that stand alone, one animation."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from motion_ray.data.video import write_video
from motion_ray.errors import MotionRayError
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.publish import ANIMATION, README, publish
from motion_ray.reproduction.record import Failed
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.scale import puppet_scale
from motion_ray.reproduction.sections import sections_of
from tests.reproduction.samples import THRESHOLD, controls, look

COMMAND = "python -m jobs.reproduce table1"
FACTS = {
    "command": f"{COMMAND} --out /mnt/a --workers 2; {COMMAND} --workers 2 --plain --out=b",
    "commit": "abc",
    "time": "3 minutes",
}


@pytest.fixture
def found(tmp_path: Path) -> Reproduction:
    """Table 1 with two methods on two motions, two trainings of ours, and a failure."""
    looks = [
        each
        for motion in ("dabbing", "drumming")
        for method, seed, rights in (("ours", 0, 27), ("ours", 1, 21), ("dreambooth", 0, 9))
        for each in (
            look(Cell(method, motion, seed), 100, rights // 3, appearance=0.8, final=False),
            look(Cell(method, motion, seed), 200, rights, appearance=0.7),
        )
    ]
    failed = [Failed(Cell("textual-inversion", "dabbing", 0), "the loss | is <nan>")]
    videos = {}
    for number, method in enumerate(("ours", "dreambooth")):
        file = tmp_path / f"{method}.mp4"
        frames = torch.full((8, 3, 64, 64), 60 + 90 * number, dtype=torch.uint8)
        for at, frame in enumerate(frames):
            frame[0, :, : 8 * at + 8] = 250
        write_video(file, frames, 8.0)
        videos[method] = [("a red robot doing the pll", file)]
    scale = replace(puppet_scale(), motions=("dabbing", "drumming"), headline_seeds=(0, 1))
    rows = [*controls("dabbing"), *controls("drumming")]
    experiments = (EXPERIMENTS["table1"], EXPERIMENTS["appendix-d"])
    findings = Findings(looks, rows, failed, THRESHOLD)
    return Reproduction(scale, experiments, findings, videos, {"base": "abc"})


def test_what_is_published_tells_numbers_verdicts_and_where_they_come_from(
    found: Reproduction, tmp_path: Path
) -> None:
    readme = publish(tmp_path / "results", found, sections_of(found), FACTS)
    assert readme.name == README
    text = readme.read_text()
    for piece in (
        "| ours | 80.0 % (",
        "paper: 70.6 %",
        "**reproduced**",
        "ours has at least twice the motion accuracy of DreamBooth (section 4.1)",
        "base model, asked in words",
        "| ours, seed 1 | 21 of 30 | 21 of 30 |",
        "- textual-inversion--dabbing--s0: the loss \\| is &lt;nan>",
        "| command | python -m jobs.reproduce table1 --workers 2 |",
        f"![DreamBooth, ours]({ANIMATION})",
    ):
        assert piece in text, piece
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    named = {line.split("(")[-1].rstrip(")") for line in text.splitlines() if line[:1] == "!"}
    assert named == {each.name for each in readme.parent.iterdir()} - {README}


def test_drawings_stand_alone(found: Reproduction, tmp_path: Path) -> None:
    folder = publish(tmp_path / "results", found, sections_of(found), FACTS).parent
    drawings = list(folder.glob("*.svg"))
    assert len(drawings) == 4
    for drawing in drawings:
        root = ET.fromstring(drawing.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"Textual Inversion", "Custom Diffusion", "DreamBooth", "ours"} <= set(texts)


def test_the_animation_has_a_row_a_method_and_plays_as_long_as_the_videos(
    found: Reproduction, tmp_path: Path
) -> None:
    folder = publish(tmp_path / "results", found, sections_of(found), FACTS).parent
    with Image.open(folder / ANIMATION) as image:
        assert (image.n_frames, image.height) == (8, 2 * 100)  # pyright: ignore
        durations = []
        for at in range(8):
            image.seek(at)
            durations.append(image.info["duration"])
        assert sum(durations) == pytest.approx(1000, abs=80)


def test_what_is_learned_from_is_above_what_was_learned(
    found: Reproduction, tmp_path: Path
) -> None:
    longer = tmp_path / "clip.mp4"
    frames = torch.arange(12)[:, None, None, None].expand(12, 3, 32, 64) * 20
    write_video(longer, frames.byte(), 8)
    folder = publish(tmp_path / "results", replace(found, taught=(longer,)), (), FACTS).parent
    assert f"![clips that teach it, DreamBooth, ours]({ANIMATION})" in (folder / README).read_text()
    with Image.open(folder / ANIMATION) as image:
        assert (image.n_frames, image.height) == (12, 3 * 100)  # pyright: ignore


def test_what_is_too_large_to_be_committed_is_refused(
    found: Reproduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motion_ray.reproduction.publish.LARGEST", 1000)
    with pytest.raises(MotionRayError, match=r"its files take .* MB, more than"):
        publish(tmp_path / "results", found, sections_of(found), FACTS)


def test_nothing_was_trained_and_still_there_is_a_page(found: Reproduction, tmp_path: Path) -> None:
    bare = replace(found, experiments=(EXPERIMENTS["appendix-d"],), findings=Findings(), videos={})
    text = publish(tmp_path / "results", bare, sections_of(bare), FACTS).read_text()
    assert "**not run**" in text and ANIMATION not in text
