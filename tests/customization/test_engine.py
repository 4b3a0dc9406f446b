"""Plain torch and DeepSpeed are the same arithmetic."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.engine import MasterEngine, TorchEngine, build_engine
from motion_ray.customization.loop import customize
from motion_ray.store import DeltaStore
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


@pytest.mark.parametrize("name", ["torch", "deepspeed"])
def test_no_gradient_takes_memory_during_a_forward_pass(tiny_run, name):
    layer = nn.Linear(3, 3)
    engine = build_engine(layer, tiny_run.replace({"engine": {"name": name}}), torch.device("cpu"))
    for _ in range(2):
        before = layer.weight.detach().clone()
        assert engine.update(layer(torch.ones(2, 3)).square().mean(), 0.1) > 0
        assert layer.weight.grad is None and not torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["torch", "deepspeed"])
def test_both_engines_clip_to_the_same_norm(tiny_run, name):
    config = tiny_run.replace({"engine": {"name": name}, "optimizer": {"grad_clip": 0.5}})
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    engine = build_engine(layer, config, torch.device("cpu"))
    seen = []
    layer.weight.register_hook(lambda gradient: seen.append(gradient.clone()))
    norm = engine.update(layer(torch.tensor([[3.0, 0.0, 4.0]])).sum(), 0.0)
    assert norm == pytest.approx(5.0) and seen[0].norm() == pytest.approx(5.0)
    (moments,) = [state["exp_avg"] for state in _states(engine)]
    # the first moment is (1 - beta) times the clipped gradient
    expected = (1 - config.optimizer.betas[0]) * 0.5 * torch.tensor([[0.6, 0.0, 0.8]])
    torch.testing.assert_close(moments, expected)


def _states(engine: Any) -> list[dict[str, torch.Tensor]]:
    wrapped = getattr(engine, "_optimizer", None) or engine._engine.optimizer
    return list(wrapped.state.values())


@pytest.mark.parametrize(
    ("name", "stage"), [("torch", 0), ("torch-bf16", 0), ("deepspeed", 0), ("deepspeed", 1)]
)
def test_nothing_is_learned_from_a_gradient_that_is_not_finite(tiny_run, name, stage):
    changes = {"name": name, "zero_stage": stage, "precision": "auto"}
    layer, inputs, masters = nn.Linear(3, 3), torch.ones(2, 3), None
    if name == "torch-bf16":
        masters = {n: nn.Parameter(p.detach().clone()) for n, p in layer.named_parameters()}
        layer, inputs = layer.bfloat16(), inputs.bfloat16()
    config = tiny_run.replace({"engine": changes})
    engine = build_engine(layer, config, torch.device("cpu"), masters)

    def update(factor: float) -> float:
        return engine.update(factor * layer(inputs).float().square().mean(), 0.1)

    def weights_and_state() -> list[torch.Tensor]:
        weights = [*layer.parameters(), *(masters or {}).values()]
        state = [value for each in _states(engine) for value in each.values()]
        return [tensor.detach().clone() for tensor in (*weights, *state)]

    assert math.isfinite(update(1.0))
    before = weights_and_state()
    assert all(bool(tensor.any()) for tensor in before)  # there are moments to be spoilt
    assert not math.isfinite(update(math.nan))
    for was, now in zip(before, weights_and_state(), strict=True):
        assert torch.equal(was, now)
    assert math.isfinite(update(1.0))  # and what comes next is
    assert not torch.equal(before[0], layer.weight)


def test_masters_of_a_network_that_is_not_rounded_are_its_weights(tiny_run):
    """Bit for bit: what differs in bfloat16 is the rounding, and nothing else."""
    settings = tiny_run.optimizer.model_copy(update={"lr": 0.1})
    inputs = torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(0))
    plain = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    other = copy.deepcopy(plain)
    other[0].bias.requires_grad_(False)
    plain[0].bias.requires_grad_(False)
    masters = {n: nn.Parameter(p.detach().clone()) for n, p in other.named_parameters()}
    engines = [TorchEngine(plain, settings), MasterEngine(other, settings, masters)]
    for number, batch in enumerate(inputs):
        norms = []
        for engine, model in zip(engines, (plain, other), strict=True):
            layer = model if number % 2 else model[0]  # at times a layer has no gradient
            norms.append(engine.update(layer(batch).square().mean(), 0.1))
        assert norms[0] == norms[1]
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name
        assert not parameter.requires_grad or torch.equal(parameter, masters[name]), name


def test_small_updates_add_up_beside_a_rounded_network(tiny_run):
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    masters = {"weight": nn.Parameter(torch.ones(1, 1))}
    engine = MasterEngine(layer, tiny_run.optimizer, masters)
    seen = set()
    for _ in range(400):  # each of 1e-4, where bfloat16 tells 0.996 from 1 and nothing between
        engine.update(layer(torch.ones(1, 1, dtype=torch.bfloat16)).sum().float(), 1e-4)
        seen.add(float(layer.weight.detach()))
    assert float(masters["weight"].detach()) < 0.97 and 0.996 < sorted(seen)[-2] < 1
    assert len(seen) < 15 and torch.equal(layer.weight, masters["weight"].bfloat16())


def test_a_network_in_bfloat16_learns_what_autocast_does(tiny_run, tmp_path):
    mixed = losses(tiny_run, tmp_path / "mixed", engine={"name": "torch", "precision": "bf16"})
    whole = {"name": "torch-bf16", "precision": "auto"}
    ours = losses(tiny_run, tmp_path / "whole", engine=whole)
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(mixed), atol=0.02, rtol=0)
    first, second = [
        DeltaStore(tmp_path / name / "store").load("slide") for name in ("mixed", "whole")
    ]
    base = dict(load_backbone(tiny_run.base, "cpu").denoiser.named_parameters())
    change, other = [
        torch.cat([(delta.tensors[n] - base[n]).flatten() for n in first.tensors])
        for delta in (first, second)
    ]
    assert torch.cosine_similarity(change, other, dim=0) > 0.9
    # exact weights are published, not those that the network computed with
    assert any(not torch.equal(t, t.bfloat16().float()) for t in second.tensors.values())


def test_a_gradient_changes_every_selected_tensor_and_no_other(tiny_run, tmp_path):
    """Something could be selected, counted and published without ever being trained."""
    *_, finished = customize(tiny_run.replace({"max_steps": 3}), tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    base = load_backbone(tiny_run.base, "cpu")
    original = dict(base.denoiser.named_parameters())
    assert set(delta.tensors) == {n for n in original if base.group_of(n) in tiny_run.groups}
    still = [
        name for name, tensor in delta.tensors.items() if torch.equal(tensor, original[name].data)
    ]
    assert still == []
