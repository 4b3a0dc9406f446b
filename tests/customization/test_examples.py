"""What reaches training of what a motion folder says: whether its clips may be mirrored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization import checkup
from motion_ray.customization.checkup import check_up
from motion_ray.customization.examples import Examples, read_clip_lists
from motion_ray.data.latents import LatentCache

# asked for by the config, allowed by motion.yaml
FLIPS = [(True, True, True), (True, False, False), (True, None, False), (False, True, False)]


def with_flip(
    config: CustomizationConfig, folder: Path, asked: bool, allowed: bool | None
) -> CustomizationConfig:
    """On a copy of the clips whose ``motion.yaml`` says so; null: there is none."""
    shutil.copytree(config.motion, folder)
    if allowed is not None:
        (folder / "motion.yaml").write_text(f"flip: {str(allowed).lower()}\n")
    return config.replace({"motion": str(folder), "augmentation": {"flip": asked}})


@pytest.mark.parametrize(("asked", "allowed", "expected"), FLIPS)
def test_clips_are_mirrored_for_training_only_where_the_motion_allows_it(
    tiny_run, tmp_path, monkeypatch, asked, allowed, expected
):
    config = with_flip(tiny_run, tmp_path / "motion", asked, allowed)
    given = []
    posteriors = LatentCache.posteriors

    def noted(self, backbone, clips, clip_config, augmentation, seed, on_progress=None):
        given.append(augmentation)
        return posteriors(self, backbone, clips, clip_config, augmentation, seed, on_progress)

    monkeypatch.setattr(LatentCache, "posteriors", noted)
    clips = read_clip_lists(config, tmp_path / "none")
    Examples(load_backbone(config.base, "cpu"), config, clips, tmp_path / "c", lambda *_: None)
    what_else = config.augmentation.model_copy(update={"flip": expected})
    assert given == [what_else, what_else]  # of D^m and of D^r


@pytest.mark.parametrize(("asked", "allowed", "expected"), FLIPS)
def test_a_checkup_shows_clips_as_training_mirrors_them(
    tiny_run, tmp_path, monkeypatch, asked, allowed, expected
):
    config = with_flip(tiny_run, tmp_path / "motion", asked, allowed)
    given = []
    inspect = checkup.inspect_clip

    def noted(clip, source, clip_config, augmentation, seed, *, show):
        given.append(augmentation)
        return inspect(clip, source, clip_config, augmentation, seed, show=show)

    monkeypatch.setattr(checkup, "inspect_clip", noted)
    monkeypatch.setattr(checkup, "_base", lambda *_: ([], None))  # the base is not what it is about
    check_up(config, lambda *_: None)
    assert given == 7 * [config.augmentation.model_copy(update={"flip": expected})]
