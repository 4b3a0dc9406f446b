"""A process that customizes and can be killed; imported by a fork server, so that each start is
cheap."""

from __future__ import annotations

from pathlib import Path

import torch

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize


def train(config: CustomizationConfig, out: Path) -> None:
    """Run to the end, in one thread: forks of a threaded torch are not safe."""
    torch.set_num_threads(1)
    for _ in customize(config, out, device="cpu"):
        pass
