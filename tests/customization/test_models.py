"""Runs that share a process and its models end as if each had been alone."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize
from motion_ray.customization.models import KeptModels
from motion_ray.types import RunFinished


def finish(config: CustomizationConfig, out: Path, models: KeptModels | None = None) -> RunFinished:
    source = None if models is None else models.source()
    *_, last = customize(config, out, device="cpu", models=source)
    assert isinstance(last, RunFinished)
    return last


@pytest.mark.parametrize("engine", ["torch", "deepspeed"])
def test_the_second_run_of_a_process_has_the_same_bits_as_one_alone(
    tiny_run: CustomizationConfig, tmp_path: Path, engine: str
) -> None:
    config = tiny_run.replace({"engine": {"name": engine, "dropout": True}})
    other = config.replace(
        {"optimizer": {"lr": 1e-2}, "engine": {"activation_checkpointing": True}}
    )
    alone = finish(config, tmp_path / "alone")
    models = KeptModels()
    before = finish(other, tmp_path / "before", models)
    second = finish(config, tmp_path / "second", models)
    assert before.sha256 != alone.sha256
    assert second.sha256 == alone.sha256


def test_a_copy_can_be_changed_and_the_next_one_is_as_read(
    tiny_run: CustomizationConfig,
) -> None:
    base = KeptModels().source().base
    first = base(tiny_run.base, "cpu", "fp32")
    with torch.no_grad():
        for parameter in first.denoiser.parameters():
            parameter.zero_()
    second = base(tiny_run.base, "cpu", "fp32")
    read = load_backbone(tiny_run.base, "cpu", "fp32")
    assert second.fingerprint == read.fingerprint
    for (name, ours), (other, theirs) in zip(
        second.denoiser.named_parameters(), read.denoiser.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(ours, theirs)


@pytest.mark.parametrize("engine", ["torch", "deepspeed"])
def test_a_finished_run_leaves_no_model_behind(
    tiny_run: CustomizationConfig, tmp_path: Path, engine: str
) -> None:
    config = tiny_run.replace({"engine": {"name": engine}, "max_steps": 2})
    models = KeptModels()
    given: list[weakref.ref[torch.nn.Module]] = []
    source = models.source()

    def watched(base: str, device: str | None, precision: str):
        copy = source.base(base, device, precision)
        given.append(weakref.ref(copy.denoiser))
        return copy

    list(
        customize(
            config, tmp_path / "run", device="cpu", models=type(source)(watched, source.encoder)
        )
    )
    gc.collect()
    assert len(given) == 2  # one to train, one to show
    assert [reference() for reference in given] == [None, None]
