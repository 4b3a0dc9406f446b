"""The stage that draws the world."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.data.puppets.motions import BASE_MOTIONS, IMPROVISED
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene, split_of
from motion_ray.errors import RunFolderError
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.parts import Parts
from motion_ray.pretraining.stage import run_stage
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import SCENES, STAGE, WorldSettings, open_world

SETTINGS = WorldSettings(clips=11, captions=2, clips_per_part=4)


def draw(root: Path, settings: WorldSettings = SETTINGS, processes: int = 1) -> Workspace:
    workspace = Workspace(root, processes=processes)
    for _ in run_stage(STAGE, settings, workspace):
        pass
    return workspace


def test_it_holds_training_scenes_as_they_are_drawn(tmp_path: Path) -> None:
    workspace = draw(tmp_path)
    world = open_world(workspace)
    assert len(world.frames) == len(world.captions) == 11
    assert all(len(texts) == 2 for texts in world.captions)
    described = [json.loads(text) for text in parts_of(workspace).texts(SCENES)]
    scenes = [PuppetScene(**each) for part in described for each in part["scenes"]]
    assert torch.equal(world.frames.take(torch.arange(11)), render_batch(scenes))
    for scene in scenes:
        assert split_of(scene.kind, scene.colour, scene.place) == "train"
        assert scene.motion in (*BASE_MOTIONS, IMPROVISED)


def parts_of(workspace: Workspace) -> Parts:
    return workspace.parts("world", SETTINGS.clips, SETTINGS.clips_per_part)


def test_a_part_that_is_drawn_again_has_the_same_bits(tmp_path: Path) -> None:
    workspace = draw(tmp_path)
    whole = workspace.record("world").output
    shutil.rmtree(parts_of(workspace).at(1))
    (tmp_path / "world" / "record.json").unlink()
    with pytest.raises(RunFolderError, match="--stage world"):
        open_world(workspace)
    events = list(run_stage(STAGE, SETTINGS, workspace))
    assert [event.done for event in events] == [2, 3]
    assert workspace.record("world").output == whole


def test_the_seed_decides_every_bit(tmp_path: Path) -> None:
    outputs = {
        draw(tmp_path / str(seed), replace(SETTINGS, seed=seed)).record("world").output
        for seed in (0, 1)
    }
    assert len(outputs) == 2


def test_processes_share_the_parts_without_gap_or_overlap(tmp_path: Path) -> None:
    drawn = []
    for rank in (0, 1):
        workspace = Workspace(tmp_path / "shared", replicas=Replicas(rank, 2))
        before = parts_of(workspace).missing()
        for _ in STAGE.work(SETTINGS, workspace):
            pass
        drawn.append(set(before) - set(parts_of(workspace).missing()))
    assert drawn == [{0, 2}, {1}]
    assert Workspace(tmp_path / "shared").digest("world") == draw(tmp_path / "one").digest("world")


@pytest.mark.slow  # starts processes, and each loads torch
def test_the_number_of_processes_does_not_matter(tmp_path: Path) -> None:
    one, two = draw(tmp_path / "one"), draw(tmp_path / "two", processes=2)
    assert one.record("world").output == two.record("world").output
    assert two.record("world").cpu_minutes > 0
