"""One tiny pretraining for all tests here, and copies of it to go on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.pretraining.stage import run_stage
from motion_ray.pretraining.stages import STAGES
from motion_ray.pretraining.workspace import Workspace

CopyUpTo = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with all stages finished, at their tiny settings."""
    workspace = Workspace(tmp_path_factory.mktemp("pretrain"), machine="a test", command="none")
    for stage in STAGES.values():
        for _ in run_stage(stage, stage.tiny, workspace):
            pass
    return workspace


@pytest.fixture
def copy_up_to(finished: Workspace, tmp_path: Path) -> CopyUpTo:
    """A workspace of one's own in which all stages before the named one are finished."""

    def copy(stage: str) -> Workspace:
        root = tmp_path / f"before-{stage}"
        for name in list(STAGES)[: list(STAGES).index(stage)]:
            shutil.copytree(finished.folder(name), root / name)
        return replace(finished, root=root)

    return copy
