"""Plain torch and DeepSpeed are the same arithmetic."""

from __future__ import annotations

import pytest
import torch

from motion_ray.customization.loop import customize
from motion_ray.types import StepDone

STEPS = 20


def losses(tiny_run, out, **changes) -> list[float]:
    config = tiny_run.replace({"max_steps": STEPS, "checkpoint_every": 1000, **changes})
    return [e.loss for e in customize(config, out, device="cpu") if isinstance(e, StepDone)]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_deepspeed_equals_torch_for_twenty_steps(tiny_run, tmp_path, stage):
    reference = losses(tiny_run, tmp_path / "torch", engine={"name": "torch"})
    ours = losses(tiny_run, tmp_path / "ds", engine={"name": "deepspeed", "zero_stage": stage})
    assert len(reference) == STEPS and reference[0] != reference[-1]
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(reference), atol=1e-5, rtol=0)


def test_offloaded_optimizer_equals_torch(tiny_run, tmp_path):
    reference = losses(tiny_run, tmp_path / "torch", engine={"name": "torch"})
    ours = losses(
        tiny_run,
        tmp_path / "ds",
        engine={"name": "deepspeed", "zero_stage": 2, "offload_optimizer": True},
    )
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(reference), atol=1e-5, rtol=0)


def test_a_gradient_changes_every_selected_tensor_and_no_other(tiny_run, tmp_path):
    """Something could be selected, counted and published without ever being trained."""
    from motion_ray.backbones.unet3d import load_backbone
    from motion_ray.store import DeltaStore

    *_, finished = customize(tiny_run.replace({"max_steps": 3}), tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    base = load_backbone(tiny_run.base, "cpu")
    original = dict(base.denoiser.named_parameters())
    assert set(delta.tensors) == {n for n in original if base.group_of(n) in tiny_run.groups}
    still = [
        name for name, tensor in delta.tensors.items() if torch.equal(tensor, original[name].data)
    ]
    assert still == []
