"""What holds for every stage: order, ownership, starting points, doing things once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.backbones.folder import open_model_folder
from motion_ray.errors import BaseModelError, ConfigError, RunFolderError
from motion_ray.locks import only_process
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.stage import Stage, StageWork, run_stage
from motion_ray.pretraining.stages import STAGES
from motion_ray.pretraining.text import TextSettings
from motion_ray.pretraining.workspace import Workspace
from tests.pretraining.conftest import CopyUpTo


def works(settings: TextSettings, workspace: Workspace) -> StageWork:
    """A stage that writes a small model."""
    workspace.write_model(SMALL.name, lambda folder: (folder / "x").write_text("x") and None)
    yield TrainingProgress("working", 1, 1, cpu_seconds=120.0, seconds=60.0)
    return {"quality": 0.5}


SMALL = Stage("small", (), TextSettings(), TextSettings(), works)
NEXT = Stage("next", ("small",), TextSettings(), TextSettings(), works, continues="first")


def consume(events: Iterator[TrainingProgress]) -> int:
    return len(list(events))


def test_stages_build_on_earlier_ones_only() -> None:
    names = list(STAGES)
    assert names == ["world", "text", "vae", "latents", "decoder", "image", "video"]
    for index, stage in enumerate(STAGES.values()):
        before = {*stage.needs, *([stage.continues] if stage.continues else [])}
        assert before <= set(names[:index])
        assert type(stage.full) is type(stage.tiny)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "world"])
def test_a_stage_that_comes_too_early_names_the_one_to_run_first(name: str, tmp_path: Path) -> None:
    stage = STAGES[name]
    with pytest.raises(RunFolderError, match=f"run --stage {stage.needs[0]} --work .* first"):
        consume(run_stage(stage, stage.tiny, Workspace(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_finished_stage_leaves_its_record_and_is_not_done_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, command="make it", machine="a test")
    assert consume(run_stage(SMALL, TextSettings(), workspace)) == 1
    record = workspace.record("small")
    assert (record.command, record.device) == ("make it", "a test")
    assert (record.minutes, record.cpu_minutes, record.scores) == (1.0, 2.0, {"quality": 0.5})
    assert record.settings["steps"] == 4000 and record.output == workspace.digest("small")
    assert consume(run_stage(SMALL, TextSettings(), workspace)) == 0


def test_a_folder_of_other_settings_or_other_inputs_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    consume(run_stage(SMALL, TextSettings(), workspace))
    with pytest.raises(RunFolderError, match="other settings"):
        consume(run_stage(SMALL, TextSettings(seed=1), workspace))
    consume(run_stage(replace(SMALL, name="first"), TextSettings(), workspace))
    consume(run_stage(NEXT, TextSettings(), workspace))
    record = workspace.record("small")
    workspace.write_record("small", replace(record, output="0" * 64))
    with pytest.raises(RunFolderError, match="other settings"):
        consume(run_stage(NEXT, TextSettings(), workspace))


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with (
        only_process(tmp_path / "small", "--work"),
        pytest.raises(RunFolderError, match="another process"),
    ):
        consume(run_stage(SMALL, TextSettings(), Workspace(tmp_path)))


def test_a_folder_is_claimed_by_nobody_who_is_kept_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with (
        only_process(tmp_path / "small", "--work"),
        pytest.raises(RunFolderError, match="another process"),
    ):
        consume(run_stage(SMALL, TextSettings(seed=1), Workspace(tmp_path)))
    # the one who was there first, and had not yet come to claim it
    assert consume(run_stage(SMALL, TextSettings(), Workspace(tmp_path))) == 1


def test_a_work_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be made there: not a directory") as error:
        consume(run_stage(SMALL, TextSettings(), Workspace(tmp_path / "work")))
    assert error.value.where == f"--work {tmp_path / 'work'}" and "--work" in error.value.fix


def test_the_model_of_a_stage_is_compared_with_its_manifest_before_it_is_read(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(RunFolderError, match="has not finished"):
        workspace.finished_model("small")
    consume(run_stage(SMALL, TextSettings(), workspace))
    assert workspace.finished_model("small") == workspace.model("small")
    (workspace.model("small") / "x").write_text("y")
    with pytest.raises(RunFolderError, match="damaged"):
        workspace.finished_model("small")


@pytest.mark.parametrize(
    ("stage", "damaged"),
    [
        ("latents", "vae"),
        ("decoder", "vae"),
        ("image", "text"),
        ("image", "vae"),
        ("video", "image"),
    ],
)
def test_a_stage_builds_on_no_damaged_model(stage: str, damaged: str, copy_up_to: CopyUpTo) -> None:
    workspace = copy_up_to(stage)
    flip_a_byte(workspace.model(damaged))
    with pytest.raises(RunFolderError, match="damaged"):
        consume(run_stage(STAGES[stage], STAGES[stage].tiny, workspace))
    assert not workspace.finished(stage)


def flip_a_byte(model: Path) -> None:
    """Change one weight of a model."""
    weights = next(iter(sorted(model.rglob("*.safetensors"))))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def test_only_some_stages_start_from_weights_and_these_must_be_a_model(
    tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    workspace = Workspace(tmp_path, start=tiny_bases["v_prediction"])
    with pytest.raises(ConfigError, match="small does not start from weights"):
        consume(run_stage(SMALL, TextSettings(), workspace))
    starting = replace(NEXT, needs=(), may_start=True)
    with pytest.raises(BaseModelError, match=r"model_index\.json"):
        consume(run_stage(starting, TextSettings(), replace(workspace, start=tmp_path)))
    # With weights to start from, the stage it would go on from is not needed.
    consume(run_stage(starting, TextSettings(), workspace))
    fingerprint = open_model_folder(tiny_bases["v_prediction"]).fingerprint
    assert workspace.record("next").inputs == {"start": fingerprint}


def test_a_model_that_an_earlier_run_wrote_is_taken_if_it_is_whole(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    consume(run_stage(SMALL, TextSettings(), workspace))
    (tmp_path / "small" / "record.json").unlink()
    assert consume(run_stage(SMALL, TextSettings(), workspace)) == 1
    (tmp_path / "small" / "record.json").unlink()
    (workspace.model("small") / "x").write_text("y")
    with pytest.raises(RunFolderError, match="damaged"):
        consume(run_stage(SMALL, TextSettings(), workspace))
