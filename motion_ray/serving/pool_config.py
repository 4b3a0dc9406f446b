"""How much memory a pool of motions may use."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field

from motion_ray.devices import machine_memory

MOST_DEVICE, MOST_HOST = 4 * 2**30, 8 * 2**30  # bytes, unless somebody asks for more
SHARE = 8  # of the memory there is a tier takes one part in so many, unless asked


class PoolConfig(BaseModel):
    """Budgets of a pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_bytes: int | None = Field(
        default=None,
        ge=0,
        description="of values that are ready for exchange; null: an eighth of the GPU's memory "
        "(on a CPU, of the machine's), 4 GiB at most",
    )
    host_bytes: int | None = Field(
        default=None,
        ge=0,
        description="of deltas as they are stored; null: an eighth of the machine's memory, 8 GiB "
        "at most",
    )
    broken_s: float = Field(
        default=30.0, ge=0, description="seconds before a broken delta is tried again"
    )
    loads: int = Field(default=3, ge=1, le=64, description="deltas read at the same time")
    prefetches: int = Field(
        default=32, ge=0, description="prefetches to a tier that may wait; more are dropped"
    )

    def device_budget(self, device: torch.device) -> int:
        """Bytes for values on ``device``, where the base model is."""
        if self.device_bytes is not None:
            return self.device_bytes
        if device.type == "cuda":
            return min(MOST_DEVICE, torch.cuda.get_device_properties(device).total_memory // SHARE)
        return min(MOST_DEVICE, machine_memory() // SHARE)

    def host_budget(self) -> int:
        """Bytes for deltas in host memory."""
        if self.host_bytes is not None:
            return self.host_bytes
        return min(MOST_HOST, machine_memory() // SHARE)
