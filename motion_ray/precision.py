"""Which arithmetic a forward pass runs in: float32, or bfloat16 by autocast over float32
weights.
"""

from __future__ import annotations

import torch


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """``"auto"`` is bfloat16 where the hardware multiplies it natively (GPU, CPU with AVX-512 BF16
    or AMX).
    """
    if precision == "fp32":
        return torch.float32
    if precision == "bf16" or device.type == "cuda":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def compute_context(precision: str, device: torch.device) -> torch.autocast:
    """A context in which the forward pass runs in the resolved precision."""
    dtype = resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
