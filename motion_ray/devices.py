"""Where models compute."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from motion_ray.errors import ConfigError, DeviceError

#: Where Linux says how much memory a container may use; "max", or a huge number, is no limit.
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_memory() -> int:
    """Bytes of memory of this machine, or those that its container may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    return memory


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


def check_works(device: torch.device, fault: Exception) -> None:
    """Refuse to go on with a GPU that computes nothing more.

    After an illegal access or a failed assertion of a kernel every later call fails too, until the
    process ends; running out of memory is not like that.

    Args:
        device: that something was computed on.
        fault: what happened there.

    Raises:
        DeviceError: it does not add one and one.
    """
    if device.type != "cuda":
        return
    try:
        works = int(torch.ones(1, device=device).add(1)) == 2
    except torch.OutOfMemoryError:
        return
    except RuntimeError:
        works = False
    if not works:
        first = str(fault).split("\n", 1)[0]
        rule = f"computes nothing more for this process: {first}"
        raise DeviceError(str(device), rule, "start the same command again") from fault
