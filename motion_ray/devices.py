"""Where models compute."""

from __future__ import annotations

import torch

from motion_ray.errors import ConfigError


def resolve_device(wanted: str | torch.device | None = None) -> torch.device:
    """The device of that name.

    Args:
        wanted: ``cpu``, ``cuda``, ``cuda:1``; null takes the GPU if there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        where = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        rule = f"{str(wanted)!r} is the name of no device"
        raise ConfigError("device", rule, "for example cpu or cuda") from None
    if where.type == "cuda" and not torch.cuda.is_available():
        rule = "there is no NVIDIA GPU that torch can use"
        raise ConfigError(
            "device", rule, "for example cpu; nvidia-smi shows whether a driver works"
        )
    return where
