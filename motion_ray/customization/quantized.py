"""Compressed deltas: changes in eight bits with a scale for each output row, expanded for use.

This is symmetric per-channel integer quantization (Jacob et al. 2017, arXiv:1712.05877;
Krishnamoorthi 2018, arXiv:1806.08342), applied to the difference of a value and the base model's:
that is smaller than the value, and so is its step.

Shapes: parameter P ``[o, ...]``; ``P.int8`` is int8 ``[o, ...]``, ``P.int8_scale`` is float32
``[o]``. The definition, with d = value - base in float32, for each row r of the first dimension:

    scale[r] = max(max |d[r]| / 127, 2**-126)     in float32; 2**-126 is its smallest normal number
    code     = d[r] / scale[r]                    in float64, rounded to the nearest, halves to even

Codes lie between -127 and 127; nothing is clipped. What is read is code x scale: it differs from d
by at most scale / 2, and the float32 product by another 2**-17 scale at most. A row of zeros stays
one. The value is base + code x scale. Tensors that would not become smaller, and all of one
dimension (biases, norms), are kept whole under their own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from motion_ray.customization.swap import are_finite, check_shape
from motion_ray.customization.transfer import moved
from motion_ray.errors import DeltaError

CODES, SCALE = ".int8", ".int8_scale"
LARGEST = 127
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


def worth_quantizing(value: Tensor) -> bool:
    """Whether codes and scales take fewer bytes than this value as it is stored."""
    return value.dim() > 1 and value.numel() + 4 * value.shape[0] < value.nbytes


def quantize(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and scales of a change.

    Args:
        difference: d, float32 ``[o, ...]`` of two or more dimensions.

    Returns:
        int8 ``[o, ...]`` and float32 ``[o]``.

    Raises:
        ValueError: a value is NaN or infinite, or within a hundredth of float32's largest.
    """
    scale = difference.abs().flatten(1).amax(1).div(LARGEST).clamp(min=_SMALLEST_SCALE)
    if not is_readable(scale):
        raise ValueError("not finite, or too large for eight bits")
    # In float64 the nearest code is found exactly, as far as anybody could tell.
    codes = difference.double() / _spread(scale, difference)
    return codes.round().to(torch.int8), scale


def expand(tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
    """The change code x scale of one parameter, float32 on the device of ``target``.

    Args:
        tensors: codes and scales; :func:`check_codes` has passed.
        name: the parameter.
        target: the base model's value.
    """
    codes = moved(tensors[name + CODES], target)  # a quarter of the bytes crosses the bus
    return codes.float() * _spread(moved(tensors[name + SCALE], target), codes)


def is_readable(scale: Tensor) -> bool:
    """Whether every code times its scale is a finite number."""
    return are_finite(scale * (LARGEST + 1)) and bool((scale > 0).all())


def coded(names: Iterable[str], where: str) -> list[str]:
    """The parameters that these tensors change, sorted: in codes or whole.

    Args:
        names: of the tensors of a compressed delta, without the token's row.
        where: whose they are, for messages.

    Raises:
        DeltaError: codes without scales, scales without codes, or a parameter told twice.
    """
    names = set(names)
    found: list[str] = []
    for name in sorted(names):
        if name.endswith(SCALE):
            partner = name.removesuffix(SCALE) + CODES
        elif name.endswith(CODES):
            partner = name.removesuffix(CODES) + SCALE
            found.append(name.removesuffix(CODES))
        else:
            partner = name
            found.append(name)
        if partner not in names:
            raise DeltaError(where, f"tensor {partner} is missing, {name} needs it")
    for name in found:
        if {name, name + CODES} <= names:
            raise DeltaError(where, f"parameter {name} is there twice, whole and in int8")
    return sorted(found)


def check_codes(
    tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
) -> None:
    """Refuse codes and scales that do not fit together, or to the parameter.

    Raises:
        DeltaError: there is no such parameter, a shape differs, or a scale cannot be used.
    """
    codes, scale = tensors[name + CODES], tensors[name + SCALE]
    check_shape(name, tuple(codes.shape), base, where)
    if codes.dim() == 0 or scale.shape != codes.shape[:1]:
        rule = f"scales of {name} have shape {list(scale.shape)}"
        expected = f"its codes have {list(codes.shape)}, a scale belongs to each row"
        raise DeltaError(where, f"{rule}, {expected}", "compress the motion again")
    if not is_readable(scale):
        rule = f"a scale of {name} is zero, negative or too large"
        raise DeltaError(where, rule, "compress the motion again")


def _spread(scale: Tensor, rows: Tensor) -> Tensor:
    """Scales ``[o]`` as ``[o, 1, ...]``, to be multiplied with ``rows [o, ...]``."""
    return scale.view(-1, *[1] * (rows.dim() - 1))
