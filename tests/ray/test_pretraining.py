"""Pretraining in two workers: each has half of every batch, and together they train one model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from torch import Tensor

from motion_ray.cluster.pretraining import check_room, run_stage_in_workers
from motion_ray.cluster.resources import WorkerResources
from motion_ray.errors import ConfigError
from motion_ray.pretraining.loop import final_state
from motion_ray.pretraining.stage import run_stage
from motion_ray.pretraining.stages import STAGES
from motion_ray.pretraining.workspace import Workspace

pytestmark = pytest.mark.timeout(900)

ONE_CORE = WorkerResources("cpu", 1)
DATA = ("world", "text", "vae", "latents")
#: Not Muon: its bfloat16 iterations make rounding errors ten thousand times larger. A rate that
#: stays makes the last steps as long as the first.
SETTINGS = {
    **{name: STAGES[name].tiny for name in DATA},
    "vae": replace(STAGES["vae"].tiny, lr_floor=1.0),
    "image": replace(STAGES["image"].tiny, optimizer="adamw", lr_floor=1.0),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Everything up to the image model, trained by one process with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    workspace = Workspace(tmp_path_factory.mktemp("alone"))
    for name, settings in SETTINGS.items():
        for _ in run_stage(STAGES[name], settings, workspace):
            pass
    torch.set_num_threads(before)
    return workspace


def weights(workspace: Workspace, stage: str, steps: int) -> dict[str, Tensor]:
    """What is trained, after a step, and its running average."""
    state = final_state(workspace.checkpoints(stage), steps)
    return {
        name: value
        for name, value in state.items()
        if name.startswith(("vae.", "unet.", "average.module."))
    }


@pytest.mark.parametrize("stage", ["vae", "image"])
def test_two_workers_train_what_one_process_trains_with_the_whole_batch(
    cluster: str, alone: Workspace, tmp_path: Path, stage: str
) -> None:
    shared = Workspace(tmp_path / "shared", machine="two workers")
    for name in DATA[: DATA.index(stage)] if stage in DATA else DATA:
        shutil.copytree(alone.folder(name), shared.folder(name))
    settings = SETTINGS[stage]
    events = list(run_stage_in_workers(stage, settings, shared, 2, ONE_CORE))
    assert events[-1].done == settings.steps
    one, two = (weights(each, stage, settings.steps) for each in (alone, shared))
    first = weights(alone, stage, 4)  # the oldest checkpoint that is kept
    assert one.keys() == two.keys() and len(one) > 50
    moved = torch.stack([(one[name] - first[name]).norm() for name in one]).norm()
    apart = torch.stack([(one[name] - two[name]).norm() for name in one]).norm()
    assert moved > 0 and apart < 0.01 * moved
    for ours, theirs in zip(shared.metrics(stage).read(), alone.metrics(stage).read(), strict=True):
        assert ours["step"] == theirs["step"]
        key = "psnr" if stage == "vae" else "loss"
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
    assert shared.finished(stage)


def test_an_error_in_a_worker_ends_the_run_with_its_reason(cluster: str, tmp_path: Path) -> None:
    settings = replace(STAGES["text"].tiny, batch=7)
    with pytest.raises(ConfigError, match="7 is not a multiple of 2"):
        list(run_stage_in_workers("text", settings, world_only(tmp_path), 2, ONE_CORE))


def world_only(root: Path) -> Workspace:
    workspace = Workspace(root)
    for _ in run_stage(STAGES["world"], STAGES["world"].tiny, workspace):
        pass
    return workspace


def test_workers_that_do_not_fit_are_refused(cluster: str) -> None:
    check_room(ray.nodes(), 2, ONE_CORE)
    with pytest.raises(ConfigError, match="holds 2 workers"):
        check_room(ray.nodes(), 3, ONE_CORE)
    with pytest.raises(ConfigError, match="holds 0 workers"):
        check_room(ray.nodes(), 1, WorkerResources("gpu", 1))
