"""A GPU without room: which settings make a run smaller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from motion_ray.config import CustomizationConfig
from motion_ray.errors import GpuMemoryError


@contextlib.contextmanager
def memory_explained(config: CustomizationConfig) -> Iterator[None]:
    """Tell what to change where torch only says how much it could not get.

    Args:
        config: of the run.

    Raises:
        GpuMemoryError: the GPU's memory is used up; another attempt would meet the same.
    """
    try:
        yield
    except torch.OutOfMemoryError as fault:
        rule = f"has no room for this run: {str(fault).partition('. If reserved')[0].strip()}"
        raise GpuMemoryError("the GPU", rule, smaller(config)) from fault


def room_here() -> tuple[str, int] | None:
    """Name and memory in bytes of this machine's first GPU; null: it has none."""
    if not torch.cuda.is_available():
        return None
    card = torch.cuda.get_device_properties(0)
    return card.name, card.total_memory


def smaller(config: CustomizationConfig) -> str:
    """The setting that makes a run smaller and changes its result least."""
    engine, clips = config.engine, config.clips
    if not engine.activation_checkpointing:
        return "set engine.activation_checkpointing=true"
    if engine.name == "deepspeed" and not engine.offload_optimizer:
        return "set engine.zero_stage=1 and engine.offload_optimizer=true"
    if config.batch_size > 1:
        return f"set batch_size={config.batch_size // 2}"
    half = f"clips.frames={max(1, clips.frames // 2)}"
    return f"set {half}, or smaller clips.height and clips.width, or see that nobody else uses it"
