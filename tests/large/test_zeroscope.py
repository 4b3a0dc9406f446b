"""Full size: ZeroScope's configuration with random weights through one training and one denoising
step.

Needs about 18 GB of memory and 6 GB of disk; runs on a GPU if there is one.
"""

from __future__ import annotations

import math

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.customization.examples import Examples, read_clip_lists
from motion_ray.customization.trainer import Trainer
from motion_ray.generation import VideoGenerator
from motion_ray.recipes import load_config
from tests.zeroscope import build_zeroscope_shape

pytestmark = [pytest.mark.large, pytest.mark.timeout(3600)]


def test_one_training_step_and_one_denoising_step(tiny_motion, tmp_path):
    base = build_zeroscope_shape(tmp_path / "zeroscope")
    config = load_config(
        "paper",
        base=str(base),
        motion=str(tiny_motion["motion"]),
        sets=[
            f"regularization.folder={tiny_motion['regularization']}",
            "clips.frames=4",
            "clips.fps=null",
            "clips.height=128",
            "clips.width=192",
            "augmentation.variants=1",
            "engine.name=torch",
            "engine.activation_checkpointing=true",
            "validation.floor=null",
        ],
    )
    backbone = load_backbone(config.base)
    clips = read_clip_lists(config, tmp_path / "none")
    examples = Examples(backbone, config, clips, tmp_path / "cache", lambda *_: None)
    trainer = Trainer(backbone, config, clips.folder.token)
    counted = sum(p.numel() for p in trainer.trainable.values())
    assert (round(counted / 1e6, 1), len(trainer.trainable)) == (570.9, 826)
    before = {name: p.detach().float().sum().item() for name, p in trainer.trainable.items()}
    event = trainer.take_step(examples)
    assert math.isfinite(event.loss) and event.gradient_norm > 0
    # Of a random network some tensors get no gradient in one step (the last temporal convolution
    # starts at zero, which hides what feeds it); most must move.
    moved = sum(p.detach().float().sum().item() != before[n] for n, p in trainer.trainable.items())
    assert moved > 400
    generator = VideoGenerator(
        backbone, SamplingConfig(steps=1, guidance=9.0), ClipConfig(frames=4, height=128, width=192)
    )
    [video] = generator.generate(["a person doing the pll"], [0])
    assert video.frames.shape == (4, 3, 128, 192) and video.frames.dtype == torch.uint8
