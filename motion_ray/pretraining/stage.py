"""One stage of a pretraining: it is claimed, resumed, done once, and leaves a record."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from motion_ray.backbones.folder import open_model_folder
from motion_ray.errors import ConfigError, RunFolderError
from motion_ray.locks import only_process
from motion_ray.pretraining.loop import TrainingProgress, claim_work_folder
from motion_ray.pretraining.workspace import Record, Workspace

Scores = Mapping[str, float]
StageWork = Generator[TrainingProgress, None, Scores]
"""Progress of a stage; its return value is what was measured at the end."""

START = "start"  # what a record calls the folder of --init
S = TypeVar("S")


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage that can be run.

    Attributes:
        name: also its folder.
        needs: stages whose output it reads.
        continues: the stage whose model it goes on training; unless another start is given.
        may_start: whether it can start from a folder of weights.
        full: settings of the shipped model.
        tiny: settings that take seconds and make nothing of use.
        work: does it, given settings and workspace.
    """

    name: str
    needs: tuple[str, ...]
    full: S
    tiny: S
    work: Callable[[S, Workspace], StageWork]
    continues: str | None = None
    may_start: bool = False


def run_stage(stage: Stage[Any], settings: Any, workspace: Workspace) -> Iterator[TrainingProgress]:
    """Do a stage, or go on where a killed run stopped; nothing if it is finished.

    Args:
        stage: which.
        settings: of its kind.
        workspace: where.

    Raises:
        RunFolderError: a stage before it is not finished or was damaged, the folder belongs to
            other settings or another process, or it cannot be made.
        ConfigError: the stage cannot start from a folder of weights.
        BaseModelError: that folder cannot be used.
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: training diverged.
    """
    inputs = _inputs(stage, workspace)
    folder = _make_folder(stage, workspace)
    with ExitStack() as stack:
        if workspace.replicas.first:
            stack.enter_context(only_process(folder, "--work"))
            # Alone already: of two runs that claim a fresh folder, both would find it nobody's.
            claim_work_folder(folder, {"settings": asdict(settings), "inputs": inputs})
        workspace.replicas.wait()  # nobody works in a folder that may be another run's
        if workspace.finished(stage.name):
            return
        last: TrainingProgress | None = None
        work = stage.work(settings, workspace)
        while True:
            try:
                last = next(work)
            except StopIteration as end:
                scores: Scores = end.value
                break
            yield last
        workspace.replicas.wait()
        if workspace.replicas.first:
            workspace.write_record(
                stage.name, _record(stage, settings, workspace, inputs, last, scores)
            )
        workspace.replicas.wait()


def _make_folder(stage: Stage[Any], workspace: Workspace) -> Path:
    folder = workspace.folder(stage.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # --work is a file, for one
        rule = f"{folder} cannot be made there: {(error.strerror or str(error)).lower()}"
        fix = "name a folder that can be written, for example --work pretrain"
        raise RunFolderError(f"--work {workspace.root}", rule, fix) from error
    return folder


def _inputs(stage: Stage[Any], workspace: Workspace) -> dict[str, str]:
    """What a stage is made from: name to sha256."""
    if workspace.start is not None and not stage.may_start:
        raise ConfigError(
            f"--init {workspace.start}",
            f"the stage {stage.name} does not start from weights",
            "--init goes with vae, image and video",
        )
    needs = list(stage.needs)
    if stage.continues is not None and workspace.start is None:
        needs.append(stage.continues)
    inputs = {need: workspace.record(need).output for need in needs}
    if workspace.start is not None:
        inputs[START] = open_model_folder(workspace.start).fingerprint
    return inputs


def _record(
    stage: Stage[Any],
    settings: Any,
    workspace: Workspace,
    inputs: dict[str, str],
    last: TrainingProgress | None,
    scores: Scores,
) -> Record:
    return Record(
        settings=asdict(settings),
        inputs=inputs,
        output=workspace.digest(stage.name),
        command=workspace.command,
        device=workspace.machine,
        cpu_minutes=0.0 if last is None else last.cpu_seconds / 60,
        minutes=0.0 if last is None else last.seconds / 60,
        scores=dict(scores),
    )
