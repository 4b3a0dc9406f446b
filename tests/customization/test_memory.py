"""A GPU without room is told with what makes the run smaller, and at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from motion_ray.customization import loop
from motion_ray.customization.memory import room_here, smaller
from motion_ray.customization.trainer import Trainer
from motion_ray.errors import GpuMemoryError
from motion_ray.recipes import load_config

#: As torch words it.
FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of "
    "which 1.12 GiB is free. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
)


def test_a_full_gpu_ends_a_run_with_advice(tiny_run, tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(Trainer, "take_step", full)
    with pytest.raises(GpuMemoryError) as told:
        list(loop.customize(tiny_run, tmp_path / "run", device="cpu"))
    text = str(told.value)
    assert text.startswith("the GPU: has no room for this: CUDA out of memory. Tried to")
    assert "1.12 GiB is free" in text and "PYTORCH_CUDA_ALLOC_CONF" not in text
    assert text.endswith("set engine.activation_checkpointing=true")
    assert isinstance(told.value.__cause__, torch.OutOfMemoryError)


def test_a_gpu_that_is_full_before_anything_trains_is_no_matter_of_settings(tiny_run, tmp_path):
    class Full:
        def base(self, *args: object) -> None:
            raise torch.OutOfMemoryError(FULL)

    with pytest.raises(GpuMemoryError, match="see who else uses it"):
        list(loop.customize(tiny_run, tmp_path / "run", device="cpu", models=Full()))


def test_what_a_gpu_has_is_known(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert room_here() is None
    card = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    assert room_here() == ("NVIDIA H100", 80 * 2**30)


def test_every_advice_can_be_followed_until_none_is_left():
    """First what leaves the result as it is: recomputing, and the optimizer's place."""
    sets, advice = ["batch_size=2"], []
    for _ in range(9):
        config = load_config("paper", base="x", motion="y", sets=sets)
        advice.append(smaller(config))
        told = advice[-1].removeprefix("set ").partition(",")[0]
        sets += told.split(" and ") if "=" in told else []
    assert advice[:3] == [
        "set engine.activation_checkpointing=true",
        "set engine.zero_stage=1 and engine.offload_optimizer=true",
        "set batch_size=1",
    ]
    assert advice[3].startswith("set clips.frames=12, or smaller clips.height")
    assert load_config("paper", base="x", motion="y", sets=sets).clips.frames == 1
    assert advice[-1] == "set smaller clips.height and clips.width"
