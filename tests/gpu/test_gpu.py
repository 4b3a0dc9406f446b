"""What only a GPU shows: the same run on it, and its arithmetic against the CPU's."""

from __future__ import annotations

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.loop import customize
from motion_ray.customization.trainer import Trainer
from motion_ray.store import DeltaStore
from motion_ray.types import StepDone
from tests.tiny import abandon


def test_a_run_trains_and_its_delta_applies(tiny_run, tmp_path):
    config = tiny_run.replace({"engine": {"name": "deepspeed", "precision": "bf16"}})
    *events, finished = customize(config, tmp_path / "run", device="cuda")
    assert len([e for e in events if isinstance(e, StepDone)]) == config.max_steps
    backbone = load_backbone(config.base, "cuda")
    before = {n: p.detach().clone() for n, p in backbone.denoiser.named_parameters()}
    delta = DeltaStore(finished.store).load(finished.delta)
    with delta.applied(backbone):
        now = backbone.denoiser.named_parameters()
        assert {n for n, p in now if not torch.equal(p, before[n])} == set(delta.tensors)
    assert all(torch.equal(p, before[n]) for n, p in backbone.denoiser.named_parameters())


@pytest.mark.parametrize("engine", ["torch", "torch-bf16", "deepspeed"])
def test_a_run_that_was_stopped_goes_on(tiny_run, tmp_path, engine):
    config = tiny_run.replace({"engine": {"name": engine, "precision": "auto"}})
    abandon(config, tmp_path / "run", device="cuda")
    events = list(customize(config, tmp_path / "run", device="cuda"))
    assert [e.step for e in events if isinstance(e, StepDone)] == [3, 4, 5, 6]


def test_masters_are_not_rounded(tiny_run):
    files = load_backbone(tiny_run.base, "cpu")
    trainer = Trainer(load_backbone(tiny_run.base, "cuda"), tiny_run, "pll")
    for name, value in trainer.trainable.items():
        assert torch.equal(value.detach().cpu(), files.denoiser.get_parameter(name))


def test_a_network_in_bfloat16_follows_autocast(tiny_run, tmp_path):
    losses = {}
    for engine in ("torch", "torch-bf16"):
        config = tiny_run.replace({"engine": {"name": engine, "precision": "auto"}})
        events = customize(config, tmp_path / engine, device="cuda")
        losses[engine] = torch.tensor([e.loss for e in events if isinstance(e, StepDone)])
    torch.testing.assert_close(losses["torch-bf16"], losses["torch"], atol=0.05, rtol=0.05)


def test_losses_follow_the_cpu(tiny_run, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        config = tiny_run.replace({"engine": {"precision": "fp32"}})
        events = customize(config, tmp_path / device, device=device)
        losses[device] = torch.tensor([e.loss for e in events if isinstance(e, StepDone)])
    # Kernels sum in another order, so only the course can agree.
    torch.testing.assert_close(losses["cuda"], losses["cpu"], atol=0.05, rtol=0.05)
