"""The forecast: exact where it counts, honest where it estimates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization import forecast as module
from motion_ray.customization.forecast import Forecast, forecast
from motion_ray.customization.parameters import select_parameters
from motion_ray.errors import ConfigError
from motion_ray.recipes import RECIPES


@pytest.fixture(scope="module")
def base(tiny_bases) -> str:
    return str(tiny_bases["epsilon"])


def config(base: str, **changes):
    clips = {"frames": 4, "height": 32, "width": 40}
    settings = {"base": base, "clips": clips, "batch_size": 2, "engine": {"threads": 1}}
    return RECIPES["puppet"]().replace(settings).replace(changes)


def run(base: str, clips: int = 10, **changes) -> Forecast:
    settings = config(base, **changes)
    single = settings.engine.precision == "fp32"
    sketch, mode = sketch_backbone(base, torch.float32 if single else torch.bfloat16)
    return forecast(settings, clips, sketch, mode)


def test_a_small_model_is_measured(base):
    found = run(base)
    assert found.measured and "CPU" in found.device and 0 < found.seconds < 60
    backbone = load_backbone(base, "cpu")
    trainable = select_parameters(backbone, config(base).groups)
    count = sum(p.numel() for p in trainable.values())
    assert (found.trainable_parameters, found.trainable_tensors) == (count, len(trainable))
    assert found.optimizer == 8 * count
    assert found.checkpoint == 12 * count and found.delta == 4 * count
    modules = (backbone.denoiser, backbone.vae, backbone.text_encoder)
    assert found.weights == sum(4 * p.numel() for m in modules for p in m.parameters())
    assert found.peak == found.weights + found.optimizer + found.activations
    assert found.activations > 4 * count  # gradients alone take that
    # mean and log-variance of 4 channels x 4 frames x 4 x 5 cells
    variants = config(base).augmentation.variants
    assert found.latents == 10 * variants * 2 * 4 * (4 * 4 * 4 * 5)


def test_a_large_model_is_estimated_and_says_so(base, monkeypatch):
    monkeypatch.setattr(module, "AFFORDABLE_OPERATIONS", 0)
    found = run(base)
    assert not found.measured and found.device == "an H100"
    assert found.seconds == found.operations / module.GPU_RATE > 0
    # frozen weights in bfloat16, trainable ones in float32
    single = run(base, engine={"precision": "fp32"})
    frozen = single.weights // 4 - found.trainable_parameters
    assert found.weights == single.weights - 2 * frozen
    alive = found.weights + found.optimizer + found.activations
    assert found.peak == int(alive * module.GPU_SLACK)


def test_a_network_in_bfloat16_takes_less_and_keeps_exact_weights_beside_it(base, monkeypatch):
    monkeypatch.setattr(module, "AFFORDABLE_OPERATIONS", 0)
    mixed, whole = run(base), run(base, engine={"name": "torch-bf16"})
    assert mixed.weights - whole.weights == 2 * mixed.trainable_parameters
    assert whole.optimizer - mixed.optimizer == 4 * mixed.trainable_parameters
    assert whole.activations < mixed.activations
    assert whole.operations == mixed.operations and whole.delta == mixed.delta


def test_the_time_of_videos_is_part_of_the_forecast(base, monkeypatch):
    """With the paper's floor, validations of a large model take as long as its training."""
    monkeypatch.setattr(module, "AFFORDABLE_OPERATIONS", 0)
    floor = {"clip_model": "puppet", "relative": 0.9}
    validation = {"every": 100, "prompts": ["a red robot <motion>"] * 3, "seeds": [0, 1]}
    sampling = {"steps": 40, "guidance": 9.0}
    changes = {"max_steps": 250, "sampling": sampling, "validation": validation | {"floor": floor}}
    found = run(base, **changes)
    # steps 0, 100, 200 and 250, six videos each; three prompts without and with the motion
    assert found.videos == 4 * 6 + 2 * 3
    # two of a step's six passes are one example's guided denoising step
    assert found.video_seconds == pytest.approx(40 * 2 * found.seconds / 6)
    assert found.total_seconds(250) == pytest.approx(250 * found.seconds + 30 * found.video_seconds)
    assert run(base, **changes | {"validation": validation | {"floor": None}}).videos == 6
    assert run(base, **changes | {"sampling": {"steps": 40, "guidance": 1.0}}).video_seconds == (
        pytest.approx(found.video_seconds / 2)
    )
    synthetic = {"source": "synthetic", "synthetic_clips": 7}
    assert run(base, **changes | {"regularization": synthetic}).videos == 30 + 7


def test_more_work_takes_more_and_recomputing_takes_less_memory(base, monkeypatch):
    monkeypatch.setattr(module, "AFFORDABLE_OPERATIONS", 0)
    plain, twice = run(base), run(base, batch_size=4)
    # convolutions and products are linear in the batch, but for the time embedding
    assert twice.operations == pytest.approx(2 * plain.operations, rel=0.01)
    assert twice.activations > 1.5 * plain.activations
    less = run(base, batch_size=4, engine={"activation_checkpointing": True})
    assert less.activations < 0.8 * twice.activations and less.operations > twice.operations


def test_counting_follows_every_tensor_to_its_end():
    x, layer = torch.zeros(100, 100), nn.Linear(100, 100, bias=False)
    with module._Counter() as counter, torch.no_grad():
        for _ in range(5):
            layer(x).view(50, 200)
    assert counter.peak == 100 * 100 * 4  # one result at a time, views are free
    assert counter.operations == 5 * 2 * 100**3
    with module._Counter() as counter:
        kept = [layer(x) for _ in range(3)]
        sum(k.sum() for k in kept).backward()
    # the three results, a gradient, its sum so far, and a new share of it; a few scalars
    assert 3 * 40_000 <= counter.peak <= 6 * 40_000 + 64


def test_weights_stay_as_they_are(base):
    before = {n: p.clone() for n, p in load_backbone(base, "cpu").denoiser.named_parameters()}
    backbone = load_backbone(base, "cpu")
    settings = config(base)
    select_parameters(backbone, settings.groups)
    module._step(backbone, settings, torch.autocast("cpu", enabled=False))
    for name, parameter in backbone.denoiser.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


def test_a_token_that_trains_alone(base):
    found = run(base, groups=[], train_token=True)
    assert (found.trainable_parameters, found.trainable_tensors) == (16, 1)
    assert found.delta == 64


def test_groups_that_the_base_lacks(base, monkeypatch):
    sketch, mode = sketch_backbone(base)
    monkeypatch.setattr(sketch, "_groups", dict.fromkeys(sketch._groups, "temporal_conv"))
    with pytest.raises(ConfigError, match="no parameters in"):
        forecast(config(base), 1, sketch, mode)


def test_a_sketch_is_the_model_without_its_numbers(base):
    real = load_backbone(base, "cpu")
    sketch, mode = sketch_backbone(base)
    shapes = {n: p.shape for n, p in real.denoiser.named_parameters()}
    assert {n: p.shape for n, p in sketch.denoiser.named_parameters()} == shapes
    assert sketch.fingerprint == real.fingerprint
    assert torch.equal(sketch.token_ids(["a pll"]), real.token_ids(["a pll"]))
    with mode:
        output = sketch.predict(
            torch.randn(1, 4, 3, 4, 5, dtype=torch.bfloat16),
            torch.tensor([5]),
            torch.randn(1, 16, 16, dtype=torch.bfloat16),
        )
    assert output.shape == (1, 4, 3, 4, 5)


def zeroscope_folder(folder: Path, tiny: str) -> str:
    """ZeroScope's configs over weights that a sketch never opens."""
    shutil.copytree(tiny, folder)
    changes = {
        "unet": {
            "down_block_types": ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
            "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "cross_attention_dim": 1024,
            "attention_head_dim": 64,
            "norm_num_groups": 32,
        },
        "vae": {
            "block_out_channels": [128, 256, 512, 512],
            "layers_per_block": 2,
            "norm_num_groups": 32,
        },
        "text_encoder": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 23,
            "max_position_embeddings": 77,
            "vocab_size": 49408,
        },
    }
    for part, change in changes.items():
        path = folder / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return str(folder)


@pytest.mark.slow
def test_the_paper_at_full_size_agrees_with_what_an_h100_took(base, tmp_path):
    """Measured there, in bfloat16 autocast: 53.49 TFLOP, 51.2 GiB and 0.40 s a step."""
    folder = zeroscope_folder(tmp_path / "zeroscope", base)
    settings = RECIPES["paper"]().replace({"base": folder})
    sketch, mode = sketch_backbone(folder)
    found = forecast(settings, 110, sketch, mode)
    assert not found.measured
    assert (found.trainable_parameters, found.trainable_tensors) == (570_882_176, 826)
    assert found.operations == pytest.approx(53.49e12, rel=0.01)
    assert found.peak / 2**30 == pytest.approx(51.2, rel=0.1)
    assert found.seconds == pytest.approx(0.40, rel=0.5)
