"""What only a GPU shows: the same run on it, and its arithmetic against the CPU's."""

from __future__ import annotations

import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.loop import customize
from motion_ray.store import DeltaStore
from motion_ray.types import StepDone


def test_a_run_trains_and_its_delta_applies(tiny_run, tmp_path):
    config = tiny_run.replace({"engine": {"name": "deepspeed", "precision": "bf16"}})
    *events, finished = customize(config, tmp_path / "run", device="cuda")
    assert len([e for e in events if isinstance(e, StepDone)]) == config.max_steps
    backbone = load_backbone(config.base, "cuda")
    before = {n: p.detach().clone() for n, p in backbone.denoiser.named_parameters()}
    with DeltaStore(finished.store).load(finished.delta).applied(backbone):
        pass
    assert all(torch.equal(p, before[n]) for n, p in backbone.denoiser.named_parameters())


def test_losses_follow_the_cpu(tiny_run, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        config = tiny_run.replace({"engine": {"precision": "fp32"}})
        events = customize(config, tmp_path / device, device=device)
        losses[device] = torch.tensor([e.loss for e in events if isinstance(e, StepDone)])
    # Weights are bfloat16 on the GPU where they are frozen, so only the course can agree.
    torch.testing.assert_close(losses["cuda"], losses["cpu"], atol=0.05, rtol=0.05)
