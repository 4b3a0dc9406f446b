"""The page and its numbers, from invented looks."""

from __future__ import annotations

import json

import pytest
import torch

from motion_ray.data.video import write_video
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.page import PAGE, RESULTS, write_page
from motion_ray.reproduction.record import Failed
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.scale import puppet_scale
from motion_ray.reproduction.sections import sections_of
from tests.reproduction.samples import THRESHOLD, controls, look


@pytest.fixture
def found(tmp_path) -> Reproduction:
    looks = []
    for method, rights in (("ours", 27), ("dreambooth", 9), ("custom-diffusion", 3)):
        cell = Cell(method, "dabbing", 0)
        looks += [
            look(cell, 100, rights // 3, appearance=0.8, final=False),
            look(cell, 200, rights),
        ]
    failed = [Failed(Cell("textual-inversion", "dabbing", 0), "the loss is <nan>")]
    video = tmp_path / "0.mp4"
    write_video(video, torch.zeros(4, 3, 16, 16, dtype=torch.uint8), 8.0)
    return Reproduction(
        scale=puppet_scale(quick=True),
        experiments=(EXPERIMENTS["table1"], EXPERIMENTS["appendix-d"]),
        findings=Findings(looks, controls("dabbing"), failed, THRESHOLD),
        videos={"ours": [("a red robot doing the pll", video)]},
        measured_with={"base": "abc"},
    )


def test_the_page_tells_everything(found, tmp_path):
    facts = {"command": "python -m jobs.reproduce table1"}
    page = write_page(tmp_path, found, sections_of(found), facts).read_text()
    for text in (
        "90.0 % (",  # ours, with an interval
        "paper: 70.6 %",
        "ours has at least twice the motion accuracy of DreamBooth, at matched appearance",
        "base model, asked in words",
        "1 of its trainings failed",
        "the loss is &lt;nan&gt;",
        "a red robot doing the pll",
        "data:video/mp4;base64,",
        "python -m jobs.reproduce table1",
        "<polyline",
    ):
        assert text in page, text
    assert "http" not in page.replace("http://www.w3.org", "")


def test_numbers_for_machines(found, tmp_path):
    write_page(tmp_path, found, sections_of(found), {"command": "x"})
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["rows"]["ours"]["scores"]["motion accuracy"]["value"] == pytest.approx(0.9)
    assert results["rows"]["textual-inversion"] is None
    words = {v["claim"]: v["verdict"] for v in results["verdicts"]["table1"]}
    assert words[
        "ours has at least twice the motion accuracy of Custom Diffusion (section 4.1)"
    ] == ("reproduced")
    assert set(results["failed"]) == {"textual-inversion--dabbing--s0"}
    assert (tmp_path / PAGE).exists()
