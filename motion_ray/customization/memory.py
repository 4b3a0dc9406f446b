"""A GPU without room: which settings make a run smaller."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from motion_ray.config import CustomizationConfig
from motion_ray.errors import GpuMemoryError

OTHERS = "see who else uses it (nvidia-smi), and repeat the command: what is done is kept"


@contextlib.contextmanager
def memory_explained(advice: str = OTHERS) -> Iterator[None]:
    """Tell what to do where torch only says how much it could not get.

    Args:
        advice: that can be followed.

    Raises:
        GpuMemoryError: the GPU's memory is used up.
    """
    try:
        yield
    except torch.OutOfMemoryError as fault:
        rule = f"has no room for this: {str(fault).partition('. If reserved')[0].strip()}"
        raise GpuMemoryError("the GPU", rule, advice) from fault


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
    if clips.frames > 1:
        return f"set clips.frames={clips.frames // 2}, or smaller clips.height and clips.width"
    return "set smaller clips.height and clips.width"
