"""The one folder that all stages of a pretraining share, and what a finished stage leaves in it.

``<work>/<stage>/``: ``settings.json`` (whose it is), then the stage's own ``parts/``,
``checkpoints/``, ``metrics.jsonl``, ``sheets/`` and ``model/``, and ``record.json``, written last:
a stage without a record is not finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.errors import RunFolderError
from motion_ray.files import atomic_directory, remove_stale, write_text_atomic
from motion_ray.manifest import MANIFEST, canonical_json, verify_manifest
from motion_ray.metrics import MetricsLog
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.parts import Parts

if TYPE_CHECKING:
    # The processes that draw the world have no use for diffusers, which takes seconds to load.
    from motion_ray.backbones.unet3d import UNet3DBackbone

Scorer = Callable[["UNet3DBackbone"], Mapping[str, float]]
"""Scores a base model by what it generates: name to value."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Record:
    """How a finished stage came about.

    Attributes:
        settings: all of them.
        inputs: what it was made from: earlier stage to the sha256 of its output, at that time.
        output: sha256 over the manifests of what it left.
        command: that runs it again.
        device: machine in words.
        cpu_minutes: processor time of the first process.
        minutes: on the clock.
        scores: measured at its end.
    """

    settings: dict[str, Any]
    inputs: dict[str, str]
    output: str
    command: str
    device: str
    cpu_minutes: float
    minutes: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Workspace:
    """Where and with what a stage works.

    Attributes:
        root: the ``--work`` folder.
        device: of training and encoding.
        replicas: this process among those that work on the stage.
        processes: that draw the world at once, where this process is alone.
        command: that was given, for the records.
        machine: in words, for the records.
        start: a diffusers folder whose weights a training starts from, instead of from nothing or
            from the stage before.
        score: scores the video model while it trains.
    """

    root: Path
    device: torch.device = CPU
    replicas: Replicas = field(default_factory=Replicas)
    processes: int = 1
    command: str = ""
    machine: str = ""
    start: Path | None = None
    score: Scorer | None = None

    def folder(self, stage: str) -> Path:
        """Folder of a stage."""
        return self.root / stage

    def model(self, stage: str) -> Path:
        """Folder of a stage's finished model, in diffusers' layout."""
        return self.folder(stage) / "model"

    def finished_model(self, stage: str) -> Path:
        """Folder of a finished stage's model, compared with its manifest, to be read.

        Raises:
            RunFolderError: the stage has not finished, or its model is damaged.
        """
        self.record(stage)
        folder = self.model(stage)
        verify_manifest(folder, RunFolderError)
        return folder

    def checkpoints(self, stage: str) -> CheckpointFolder:
        """Checkpoints of a stage's training."""
        return CheckpointFolder(self.folder(stage) / "checkpoints")

    def metrics(self, stage: str) -> MetricsLog:
        """Measurements of a stage's training."""
        return MetricsLog(self.folder(stage) / "metrics.jsonl")

    def parts(self, stage: str, rows: int, rows_per_part: int) -> Parts:
        """A long array that a stage makes."""
        return Parts(self.folder(stage) / "parts", rows, rows_per_part)

    def finished(self, stage: str) -> bool:
        """Whether a stage has its record."""
        return self._record(stage).is_file()

    def record(self, stage: str) -> Record:
        """The record of a finished stage.

        Raises:
            RunFolderError: it has not finished; the message says how to run it.
        """
        if not self.finished(stage):
            raise RunFolderError(
                f"{self.folder(stage)}",
                f"the stage {stage} has not finished, and this one builds on it",
                f"run --stage {stage} --work {self.root} first",
            )
        return Record(**json.loads(self._record(stage).read_text()))

    def write_record(self, stage: str, record: Record) -> None:
        """Mark a stage as finished."""
        write_text_atomic(self._record(stage), canonical_json(asdict(record)), RunFolderError)

    def write_model(self, stage: str, write: Callable[[Path], None]) -> None:
        """Write a stage's model folder, unless an earlier run got that far.

        Args:
            stage: whose.
            write: fills an empty folder.

        Raises:
            RunFolderError: the disk is full, or what is there is damaged.
        """
        final = self.model(stage)
        remove_stale(final.parent)
        if final.exists():
            verify_manifest(final, RunFolderError)
            return
        with atomic_directory(final, RunFolderError) as folder:
            write(folder)

    def digest(self, stage: str) -> str:
        """sha256 over the manifests of a stage's model and parts."""
        folder = self.folder(stage)
        manifests = [*folder.glob(f"model/{MANIFEST}"), *folder.glob(f"parts/*/{MANIFEST}")]
        digest = hashlib.sha256()
        for manifest in sorted(manifests):
            digest.update(manifest.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(manifest.read_bytes())
        return digest.hexdigest()

    def _record(self, stage: str) -> Path:
        return self.folder(stage) / "record.json"
