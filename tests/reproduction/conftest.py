"""A reproduction that trains in seconds: a tiny base and few clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.cluster.paths import with_absolute_paths
from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.reproduction.cells import cells_of
from motion_ray.reproduction.clips import Clips
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.record import Ended, Record, open_record
from motion_ray.reproduction.scale import puppet_scale

#: Of every recipe; what is left is of the methods.
SETS = (
    "clips={frames: 4, fps: null, height: 32, width: 32}",
    "augmentation.variants=1",
    "sampling={steps: 1, guidance: 1.0}",
    "engine.precision=fp32",
    "validation.every=2",
    'validation.prompts=["a red robot <motion>"]',
    "validation.floor=null",
    "checkpoint_every=2",
    "batch_size=1",
    "max_steps=4",
)
OpenTiny = Callable[..., Record]


@pytest.fixture
def tiny_clips(tiny_bases: dict[str, Path], tiny_motion: dict[str, Path], tmp_path: Path) -> Clips:
    """Data of a scale whose base is tiny; its reproduction is to lie in ``tmp_path / "out"``."""
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "motions").mkdir(parents=True)
    out.mkdir()
    (data / "motions" / "slide").symlink_to(tiny_motion["motion"])
    (data / "regularization").symlink_to(tiny_motion["regularization"])
    (data / "targets.yaml").write_text("slide: {label: dabbing, description: sliding}\n")
    scale = replace(
        puppet_scale(),
        motions=("slide",),
        headline_seeds=(0,),
        sets=SETS,
        settings=EvaluationSettings(base=str(tiny_bases["v_prediction"])),
        data=data,
    )
    return Clips(scale, out / "clips")


@pytest.fixture
def open_tiny(tiny_clips: Clips, tmp_path: Path) -> OpenTiny:
    """Open the record of tables 2b and 2d: ours, without temporal layers, uniform."""

    def opened(
        *sets: str,
        retry_failed: bool = False,
        root: Path = tmp_path / "out",
        ended: Mapping[str, Ended] | None = None,
    ) -> Record:
        root.mkdir(exist_ok=True)
        scale = replace(tiny_clips.scale, sets=(*SETS, *sets))
        clips = Clips(scale, tiny_clips.root)
        cells = cells_of([EXPERIMENTS["table2b"], EXPERIMENTS["table2d"]], clips)

        def resolve(config):
            return with_absolute_paths(config, Path.cwd())

        return open_record(root, cells, clips, resolve, retry_failed=retry_failed, ended=ended)

    return opened
