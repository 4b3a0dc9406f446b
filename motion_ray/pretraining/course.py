"""The course of a stage's training: the resumable loop, with its measurements written to disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from motion_ray.pretraining.loop import Trainable, TrainingProgress, train
from motion_ray.pretraining.workspace import Workspace


class MeasuredTrainable(Trainable, Protocol):
    """A training that can say how it went."""

    def report(self) -> dict[str, Any]:
        """Measurements since the last report, for JSON; their sums are part of the state."""
        ...


class CourseSettings(Protocol):
    """What the settings of every training hold."""

    @property
    def steps(self) -> int:
        """Updates in all."""
        ...

    @property
    def log_every(self) -> int:
        """Steps between lines of ``metrics.jsonl``."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        ...


def train_stage(
    trainable: MeasuredTrainable, stage: str, settings: CourseSettings, workspace: Workspace
) -> Iterator[TrainingProgress]:
    """Train to the last step, resuming; the first process writes checkpoints and measurements.

    Raises:
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: training diverged.
    """
    log, first = workspace.metrics(stage), workspace.replicas.first
    written = 0
    course = train(
        trainable,
        settings.steps,
        workspace.checkpoints(stage),
        settings.checkpoint_every,
        saves=first,
    )
    for progress in course:
        if progress.loss is None and first:
            log.rewind(progress.done)
            written = max((line["step"] for line in log.read()), default=0)
        if progress.done and progress.done % settings.log_every == 0:
            # Also right after a resume: the checkpoint of this step was saved before its report.
            report = trainable.report()
            if first and progress.done > written:
                log.append({"step": progress.done, **report})
        yield progress
