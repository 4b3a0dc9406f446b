"""Which arithmetic a forward pass runs in: float32, or bfloat16 by autocast over float32
weights.
"""

from __future__ import annotations

import torch

from motion_ray.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16")
WORDS = {"float32": "fp32", "bfloat16": "bf16"}  # for the names of resolved types


def check_precision(precision: str, where: str = "precision") -> None:
    """Refuse a word that names no arithmetic.

    Args:
        precision: should be one of :data:`PRECISIONS`.
        where: what the user wrote it into, for the message.

    Raises:
        ConfigError: it is none of them.
    """
    if precision not in PRECISIONS:
        rule = f"is {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {precision!r}"
        raise ConfigError(where, rule, "for example fp32")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """``"auto"`` is bfloat16 where the hardware multiplies it natively (GPU, CPU with AVX-512 BF16
    or AMX).

    Raises:
        ConfigError: the word is none of :data:`PRECISIONS`.
    """
    check_precision(precision)
    if precision == "fp32":
        return torch.float32
    if precision == "bf16" or device.type == "cuda":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def resolved_name(precision: str, device: torch.device) -> str:
    """The name of the resolved type, ``float32`` or ``bfloat16``, for records.

    Raises:
        ConfigError: as :func:`resolve_precision`.
    """
    return str(resolve_precision(precision, device)).removeprefix("torch.")


def compute_context(precision: str, device: torch.device) -> torch.autocast:
    """A context in which the forward pass runs in the resolved precision.

    Raises:
        ConfigError: as :func:`resolve_precision`.
    """
    dtype = resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
