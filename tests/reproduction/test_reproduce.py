"""A small reproduction on the embedded model: it trains, looks, tells, and repeats nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.config import SamplingConfig
from motion_ray.data.puppets.folders import write_motion_folder, write_regularization_folder
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.reproduction.experiments import BASE, EXPERIMENTS
from motion_ray.reproduction.page import PAGE, RESULTS, write_page
from motion_ray.reproduction.reproduce import Reproduction, reproduce
from motion_ray.reproduction.scale import Scale, puppet_scale
from motion_ray.types import StepDone

SETS = (
    "max_steps=2",
    "batch_size=1",
    "augmentation.variants=1",
    "validation.every=1",
    'validation.prompts=["a red robot <motion>"]',
    "validation.floor=null",
    "sampling.steps=1",
)


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    """The embedded base, and as few clips as there can be."""
    data = tmp_path / "data"
    (data / "motions").mkdir(parents=True)
    write_motion_folder("dabbing", data / "motions" / "dabbing", clips=2)
    write_regularization_folder(data / "regularization", clips=2)
    (data / "targets.yaml").write_text("dabbing: {label: dabbing, description: dabbing}\n")
    return replace(
        puppet_scale(),
        motions=("dabbing",),
        headline_seeds=(0,),
        prompts=2,
        sets=SETS,
        settings=EvaluationSettings(
            sampling=SamplingConfig(steps=1, guidance=1.0, fps=8), copy_detector="not run"
        ),
        data=data,
    )


def run(scale: Scale, out: Path) -> tuple[Reproduction, list[str], int]:
    """What was found, the cells in order, and how many steps were trained for it."""
    cells, steps = [], []
    found = reproduce(
        [EXPERIMENTS[name] for name in ("fig5", "fig7", "appendix-d")],
        scale,
        out,
        device="cpu",
        on_cell=lambda cell, number, total: cells.append(f"{cell.name} {number}/{total}"),
        on_event=lambda cell, event: steps.append(1) if isinstance(event, StepDone) else None,
        on_progress=lambda what, done, total: None,
    )
    return found, cells, len(steps)


@pytest.mark.slow
def test_a_reproduction_trains_looks_and_repeats_nothing(scale, tmp_path):
    out = tmp_path / "out"
    found, cells, steps = run(scale, out)
    assert cells == ["tune-a-video--dabbing--s0 1/2", "ours--dabbing--s0 2/2"]
    assert steps == 4
    looks = {(look.cell.method, look.step, look.final) for look in found.findings.looks}
    # Figure 7 looks at our steps on the way, figure 5 at results only.
    assert looks == {("ours", 1, False), ("ours", 2, True), ("tune-a-video", 2, True)}
    assert all(len(look.rows) == 2 for look in found.findings.looks)
    assert not any(row.failure for look in found.findings.looks for row in look.rows)
    assert len(found.findings.rows(BASE)) == 2
    assert {method: len(made) for method, made in found.videos.items()} == {
        "ours": 2,
        "tune-a-video": 2,
    }
    page = write_page(out, found, {"command": "test"})
    assert page == out / PAGE and "Tune-A-Video" in page.read_text()
    numbers = json.loads((out / RESULTS).read_text())["rows"]

    again, _, steps = run(scale, out)
    assert steps == 0
    write_page(out, again, {"command": "test"})
    assert json.loads((out / RESULTS).read_text())["rows"] == numbers
