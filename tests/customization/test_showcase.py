"""The report's videos are what the base makes, and what it makes with the delta as published."""

from __future__ import annotations

from torch import Tensor

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.examples import read_clip_lists
from motion_ray.customization.run import RunFolder
from motion_ray.customization.showcase import make_report
from motion_ray.data.video import read_clip, write_video
from motion_ray.generation import VideoGenerator
from motion_ray.store import DeltaStore
from motion_ray.types import RunFinished
from tests.deltas import changed, header

PROMPTS = ["a red robot <motion>", "a cat <motion>"]


def test_before_is_the_base_and_after_the_base_with_the_motion(tiny_run, tmp_path):
    config = tiny_run.replace({"validation": {"prompts": PROMPTS, "phrase": "at the <token>"}})
    run, store = RunFolder(tmp_path / "run"), DeltaStore(tmp_path / "store")
    backbone = load_backbone(config.base, "cpu")
    delta = MotionDelta(header(backbone), changed(backbone))
    result = RunFinished(6, 6, "max_steps", store.publish(delta, "slide"), "store", "report.html")
    run.make()
    clips = read_clip_lists(config, tmp_path / "none")
    make_report(config, run, clips, store, result, lambda *_: None, device="cpu")

    generator = VideoGenerator(backbone, config.sampling, config.clips, "fp32")
    prompts, seeds = ["a red robot at the pll", "a cat at the pll"], [1000, 1001]
    without = generator.generate(prompts, seeds)
    with delta.applied(backbone):
        with_motion = generator.generate(prompts, seeds)
    for index in range(len(PROMPTS)):
        before, after = (
            read_clip(run.samples / f"{kind}-0{index}.mp4", config.clips).frames
            for kind in ("before", "after")
        )
        for shown, expected in ((before, without), (after, with_motion)):
            write_video(tmp_path / "expected.mp4", expected[index].frames, 8.0)
            written = read_clip(tmp_path / "expected.mp4", config.clips).frames
            assert far(shown, written) < 1
        assert far(before, after) > 10


def far(one: Tensor, other: Tensor) -> float:
    """Mean difference of their pixels, of 255."""
    return float((one.float() - other.float()).abs().mean())
