"""Running a stage as if its process were killed, and comparing what two runs left."""

from __future__ import annotations

from typing import Any

import torch

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.pretraining.loop import final_state
from motion_ray.pretraining.stage import Stage, run_stage
from motion_ray.pretraining.workspace import Workspace


def run(stage: Stage[Any], settings: Any, workspace: Workspace, stop_at: int | None = None) -> None:
    """Run to the end, or let go of it in the middle of a step's report."""
    for progress in run_stage(stage, settings, workspace):
        if progress.done == stop_at:
            return


def assert_a_killed_run_ends_alike(
    stage: Stage[Any], settings: Any, whole: Workspace, killed: Workspace, stop_at: int
) -> None:
    """Same weights, averages, moments and measurements, bit for bit."""
    run(stage, settings, whole)
    run(stage, settings, killed, stop_at)
    assert not killed.finished(stage.name)
    run(stage, settings, killed)
    states = [
        final_state(CheckpointFolder(w.folder(stage.name) / "checkpoints"), settings.steps)
        for w in (whole, killed)
    ]
    for state in states:
        del state["cpu_seconds"], state["seconds"]
    assert states[0].keys() == states[1].keys()
    different = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert different == []
    assert whole.metrics(stage.name).read() == killed.metrics(stage.name).read()
    assert whole.record(stage.name).output == killed.record(stage.name).output
    assert whole.record(stage.name).scores == killed.record(stage.name).scores
