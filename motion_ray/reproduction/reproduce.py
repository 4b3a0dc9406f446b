"""A whole reproduction: train what is missing, look at it, and gather what was found.

Called again with the same arguments it goes on where it was: finished cells are not trained again,
and videos that were measured are not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from motion_ray.customization.models import KeptModels
from motion_ray.reproduction.cells import Cell, cells_of, config_of
from motion_ray.reproduction.clips import Clips
from motion_ray.reproduction.experiments import Experiment
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.looking import Look, Looker, OnProgress
from motion_ray.reproduction.scale import Scale
from motion_ray.reproduction.training import Failed, OnEvent, train


@dataclass(frozen=True)
class Reproduction:
    """What a report is made of.

    Attributes:
        scale: at which it was done.
        experiments: in the order of the report.
        findings: everything that was seen.
        videos: method to (prompt, file) of its first cell.
        measured_with: models and settings behind every row, by hash.
    """

    scale: Scale
    experiments: tuple[Experiment, ...]
    findings: Findings
    videos: dict[str, list[tuple[str, Path]]]
    measured_with: dict[str, object]


def reproduce(
    experiments: Sequence[Experiment],
    scale: Scale,
    root: Path,
    *,
    device: str | None = None,
    on_cell: Callable[[Cell, int, int], None],
    on_event: OnEvent,
    on_progress: OnProgress,
) -> Reproduction:
    """Do everything that some tables need.

    Args:
        experiments: tables and figures.
        scale: at which.
        root: folder of everything: clips, runs, store, rows, videos.
        device: null takes the GPU if there is one.
        on_cell: told each cell, its number from 1, and how many there are, before it is trained.
        on_event: told what happens in training.
        on_progress: told what is looked at, videos done and their total.

    Raises:
        MotionRayError: bad data, a full disk, or a folder that was made at another scale.
    """
    clips = Clips(scale, root / "clips")
    clips.check()
    cells = cells_of(experiments, clips)
    models, looker = KeptModels().source(), Looker(clips, root, device, on_progress)
    looks: list[Look] = []
    failed: list[Failed] = []
    videos: dict[str, list[tuple[str, Path]]] = {}
    controls = [row for motion in scale.motions for row in looker.controls(motion)]
    for number, cell in enumerate(cells, 1):
        on_cell(cell, number, len(cells))
        trained = train(cell, config_of(cell, clips), root, models, device, on_event)
        if isinstance(trained, Failed):
            failed.append(trained)
            continue
        looks += looker.cell(trained)
        if cell.method not in videos:
            videos[cell.method] = looker.videos(trained)
    findings = Findings(looks, controls, failed, looker.threshold)
    return Reproduction(scale, tuple(experiments), findings, videos, looker.measured_with())
