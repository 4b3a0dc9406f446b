"""The base model's stages of jobs/pretrain.py, in one work folder, on one process or many."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jobs.pretrain_view import follow
from motion_ray.errors import ConfigError
from motion_ray.pretraining.denoiser_stage import VIDEO
from motion_ray.pretraining.export import EXPORT, export_base
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.parallel import training_device
from motion_ray.pretraining.scoring import BaseScorer, evaluators_are_there
from motion_ray.pretraining.settings import change_settings
from motion_ray.pretraining.stage import Stage, run_stage
from motion_ray.pretraining.stages import STAGES
from motion_ray.pretraining.workspace import Scorer, Workspace

DEFAULT_WORK = Path("pretrain")


def base_stage(options: argparse.Namespace) -> None:
    """Run one stage of the base model, or say that it is done."""
    stage = STAGES[options.stage]
    settings = change_settings(stage.tiny if options.tiny else stage.full, options.set)
    workspace = base_workspace(options)
    console = Console()
    if options.workers > 1:
        last = follow(_in_workers(stage, settings, workspace, options), console)
    else:
        last = follow(run_stage(stage, settings, workspace), console)
    _tell(stage, workspace, console, done_before=last is None)


def export_stage(options: argparse.Namespace) -> None:
    """Write the diffusers folder of the finished stages."""
    if options.out is None:
        raise ConfigError("--out", "names the new folder of the model", "for example --out base")
    exported = export_base(base_workspace(options), options.out, options.scores)
    console = Console()
    card = (exported.folder / "README.md").read_text()
    console.print(card, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{exported.folder}: {exported.size / 1e6:.1f} MB", highlight=False)


#: For jobs/pretrain.py.
BASE_STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    **dict.fromkeys(STAGES, base_stage),
    EXPORT: export_stage,
}


def base_workspace(options: argparse.Namespace) -> Workspace:
    """Where and with what a stage works, as the command line says.

    Raises:
        ConfigError: there is no GPU, and one was asked for.
    """
    changes = [word for change in options.set for word in ("--set", change)]
    command = ["python", "-m", "jobs.pretrain", "--stage", options.stage, *changes]
    if options.tiny:
        command.append("--tiny")
    if options.init is not None:
        command += ["--init", str(options.init)]
    if options.workers > 1:
        command += ["--workers", str(options.workers)]
    device = torch.device("cpu") if options.device == "cpu" else training_device()
    if options.device == "gpu" and device.type != "cuda" and options.workers == 1:
        raise ConfigError("--device gpu", "torch sees no GPU here", "leave --device out")
    return Workspace(
        root=options.work,
        device=device,
        processes=max(1, options.threads),
        command=shlex.join(command),
        machine=_machine(device, options),
        # a worker runs in another directory
        start=None if options.init is None else options.init.expanduser().absolute(),
        score=_scorer(options),
    )


def _scorer(options: argparse.Namespace) -> Scorer | None:
    if options.stage != VIDEO or options.tiny or options.score_videos < 1:
        return None
    if not evaluators_are_there():
        print("not scored as it trains: motion_ray/assets does not hold both evaluators")
        return None
    return BaseScorer(options.score_videos)


def _machine(device: torch.device, options: argparse.Namespace) -> str:
    workers = f"{options.workers} workers, " if options.workers > 1 else ""
    if device.type == "cuda":
        return f"{workers}{torch.cuda.get_device_name(device)}"
    return f"{workers}{os.cpu_count()} cores ({platform.machine()}), {options.threads} threads"


def _in_workers(
    stage: Stage[Any], settings: Any, workspace: Workspace, options: argparse.Namespace
) -> Iterator[TrainingProgress]:
    from motion_ray.cluster.session import open_cluster

    with open_cluster(options.address or os.environ.get("RAY_ADDRESS")) as session:
        import ray  # prepared by open_cluster

        from motion_ray.cluster.pretraining import check_room, run_stage_in_workers
        from motion_ray.cluster.resources import choose_resources

        resources = choose_resources(ray.nodes(), options.device, max(1, options.threads))
        if session.local:
            check_room(ray.nodes(), options.workers, resources)
        yield from run_stage_in_workers(stage.name, settings, workspace, options.workers, resources)


def _tell(stage: Stage[Any], workspace: Workspace, console: Console, *, done_before: bool) -> None:
    """Where the result is, how long it took, and what comes next."""
    record = workspace.record(stage.name)
    verb = "was finished before" if done_before else "finished"
    times = f"{record.minutes:.1f} minutes, {record.cpu_minutes:.1f} of processor time"
    console.print(f"{stage.name} {verb}: {workspace.folder(stage.name)} ({times})", soft_wrap=True)
    for name, value in record.scores.items():
        console.print(f"  {name}: {value:.4g}", highlight=False)
    order = [*STAGES, EXPORT]
    following = order[order.index(stage.name) + 1]
    console.print(f"next: --stage {following}", highlight=False)
