"""A small reproduction on the embedded model: it trains, looks, tells, and repeats nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.cluster.paths import with_absolute_paths
from motion_ray.config import SamplingConfig
from motion_ray.data.puppets.folders import write_motion_folder, write_regularization_folder
from motion_ray.errors import BaseModelError, MotionRayError
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.measurement_files import read_table, write_table
from motion_ray.reproduction.beyond import SCENES, SCENES_5
from motion_ray.reproduction.evaluators import rows_of
from motion_ray.reproduction.experiment import BASE
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.kept import Kept, keep, read_kept
from motion_ray.reproduction.page import PAGE, RESULTS, write_page
from motion_ray.reproduction.record import Record
from motion_ray.reproduction.reproduce import Reproduction, reproduce
from motion_ray.reproduction.scale import Scale, puppet_scale
from motion_ray.reproduction.sections import sections_of
from motion_ray.reproduction.workplace import in_this_process
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


def run(
    scale: Scale,
    out: Path,
    kept: Kept | None = None,
    told: list[int] | None = None,
    *,
    so_far: bool = False,
) -> tuple[Reproduction, list[str], int]:
    """What was found, the cells in order, and how many steps were trained for it. ``told`` gets how
    many videos were to be measured before anything was done, and once all was trained.
    """
    cells: list[str] = []
    steps: list[str] = []
    told = [] if told is None else told

    def begin(record: Record, videos: int) -> None:
        cells.extend(cell.name for cell in record.trials)
        told.append(videos)

    out.mkdir(exist_ok=True)
    found = reproduce(
        [EXPERIMENTS[name] for name in ("fig5", "fig7", "appendix-d", "beyond", "fig5-scenes")],
        scale,
        out,
        in_this_process(
            out, "cpu", lambda who, item: steps.append(who) if isinstance(item, StepDone) else None
        ),
        resolve=lambda config: with_absolute_paths(config, Path.cwd()),
        on_record=begin,
        on_trained=told.append,
        on_progress=lambda what, done, total: None,
        so_far=so_far,
        kept=kept,
    )
    return found, cells, len(steps)


@pytest.mark.slow
def test_a_reproduction_trains_looks_and_repeats_nothing(scale, tmp_path, monkeypatch):
    out = tmp_path / "out"
    told: list[int] = []
    found, cells, steps = run(scale, out, told=told)
    looked = 2 * (3 + 5 + 4) + 2 * 5  # of looks, our scenes and theirs, and scenes' drawn clips
    assert told == [looked + 4, looked]  # two of the base in words and two real clips before
    assert cells == ["tune-a-video--dabbing--s0", "ours--dabbing--s0"]
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
    assert {row: len(made) for row, made in found.findings.staged.items()} == dict.fromkeys(
        [
            *(f"ours, {scene.name}" for scene in SCENES),
            *(f"tune-a-video, {scene.name}" for scene in SCENES_5),
        ],
        2,
    )
    assert {name: len(rows) for name, rows in found.findings.drawn.items()} == dict.fromkeys(
        (scene.name for scene in SCENES), 2
    )
    page = write_page(out, found, sections_of(found), {"command": "test"})
    assert page == out / PAGE and "Tune-A-Video" in page.read_text()
    numbers = json.loads((out / RESULTS).read_text())["rows"]

    def refuse(*settings: object) -> None:
        raise BaseModelError("models", "are loaded though nothing is missing")

    monkeypatch.setattr("motion_ray.evaluation.workforce.open_evaluator", refuse)
    again, _, steps = run(scale, out)
    assert steps == 0 and again.measured_with == found.measured_with
    write_page(out, again, sections_of(again), {"command": "test"})
    assert json.loads((out / RESULTS).read_text())["rows"] == numbers

    shelf, elsewhere = tmp_path / "kept", tmp_path / "elsewhere"
    keep(
        shelf, out, found.trained, [file for made in found.videos.values() for _, file in made], []
    )
    monkeypatch.undo()
    monkeypatch.setattr("motion_ray.evaluation.evaluator.Evaluator.work", refuse)
    taken, cells, steps = run(scale, elsewhere, read_kept(shelf))
    assert not cells and steps == 0  # nothing to train, and no video is made
    write_page(elsewhere, taken, sections_of(taken), {"command": "test"})
    assert json.loads((elsewhere / RESULTS).read_text())["rows"] == numbers
    assert {method: len(made) for method, made in taken.videos.items()} == {
        "ours": 2,
        "tune-a-video": 2,
    }
    scenes = [row for made in found.findings.staged.values() for row in made]
    _forget({name: shelf / f"{name}.parquet" for name in rows_of(shelf)}, scenes)
    passed, _, steps = run(scale, tmp_path / "fewer", read_kept(shelf))
    assert steps == 0 and not passed.findings.staged  # their deltas are elsewhere
    assert len(passed.findings.looks) == len(found.findings.looks)
    assert "learned elsewhere was not asked" in passed.verdicts["fig5-scenes"][0].because
    kept = read_kept(shelf)
    theirs = {
        identity: end
        for identity, end in kept.cells.items()
        if end.deltas[2].recipe == "puppet-tune-a-video"
    }
    told.clear()
    alone = replace(kept, cells=theirs)
    partly, *_ = run(scale, tmp_path / "alone", alone, told, so_far=True)
    assert told == [0, 0] and set(partly.findings.drawn) == {scene.name for scene in SCENES}
    monkeypatch.undo()
    # The same in the folder that has the deltas, though what was published is known there too.
    _forget(rows_of(out), scenes)
    told.clear()
    measured, _, steps = run(scale, out, kept, told)
    assert steps == 0 and told == [2 * (5 + 4)] * 2
    assert set(measured.findings.staged) == set(found.findings.staged)
    more = replace(scale, seeds=(0, 1), headline_seeds=(0, 1))
    told.clear()
    partly, cells, steps = run(more, elsewhere, read_kept(shelf), told, so_far=True)
    assert told == [0, 0]
    assert cells == ["tune-a-video--dabbing--s1", "ours--dabbing--s1"] and steps == 0
    assert [cell.name for cell in partly.findings.to_come] == cells
    assert partly.findings.looks == taken.findings.looks
    text = write_page(elsewhere, partly, sections_of(partly), {}).read_text()
    assert "Trainings that are to come: 2; verdicts are provisional." in text
    assert "1 of its trainings to come: dabbing" in text
    with pytest.raises(MotionRayError, match="--so-far: nothing is trained yet"):
        run(replace(scale, headline_seeds=(2,), seeds=(2,)), tmp_path / "new", so_far=True)

    monkeypatch.setattr("motion_ray.evaluation.workforce.open_evaluator", refuse)
    other = replace(scale, settings=replace(scale.settings, classifier="elsewhere"))
    with pytest.raises(BaseModelError, match="are loaded"):  # they say whether rows are theirs
        run(other, out)


def _forget(tables: Mapping[str, Path], rows: Sequence[Measurement]) -> None:
    """Take rows out of tables."""
    keys = {row.question.key for row in rows}
    for table in tables.values():
        before, measured_with = read_table(table)
        left = [row for row in before if row.question.key not in keys]
        assert len(left) < len(before)
        write_table(table, left, measured_with)
