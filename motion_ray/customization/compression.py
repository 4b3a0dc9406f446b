"""Making a compressed delta of a full-rank one, and measuring what that costs.

The form itself is in :mod:`motion_ray.customization.quantized`. Compress against the base model in
float32, as it is on a CPU: the difference is taken to the values that are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from motion_ray.customization.delta import TOKEN_EMBEDDING, MotionDelta
from motion_ray.customization.quantized import CODES, SCALE, quantize, worth_quantizing
from motion_ray.customization.swap import DeltaTarget, are_finite
from motion_ray.errors import DeltaError


@dataclass(frozen=True)
class Loss:
    """What compression made of one parameter.

    Attributes:
        name: of the parameter.
        before: bytes.
        after: bytes, scales included.
        error: length of the change's error by length of the change, both as vectors; 0 if the value
            is kept whole or the motion does not move it.
    """

    name: str
    before: int
    after: int
    error: float


def compress(delta: MotionDelta, backbone: DeltaTarget) -> MotionDelta:
    """The same motion with its changes in eight bits, on the CPU.

    Args:
        delta: of whole values; it is not changed.
        backbone: the base model it was made for; nothing may be applied to it at this moment.

    Raises:
        DeltaError: low-rank or compressed already, made for another base, not fitting it, or with
            values that are NaN, infinite or too far from the base's.
    """
    where = f"delta {delta.header.name!r}"
    if (form := delta.header.parametrization) != "full":
        rule = f"its form is {form!r}, only whole values can be compressed"
        raise DeltaError(where, rule, "take it as it is")
    delta.check_base(backbone.fingerprint)
    base = dict(backbone.denoiser.named_parameters())
    delta.check_fits(base)
    tensors: dict[str, Tensor] = {}
    for name, value in delta.tensors.items():
        if name == TOKEN_EMBEDDING or not worth_quantizing(value):
            if not are_finite(value):
                raise DeltaError(where, f"tensor {name} holds NaN or infinite values")
            tensors[name] = value
            continue
        try:
            tensors[name + CODES], tensors[name + SCALE] = quantize(delta.change(name, base).cpu())
        except ValueError as fault:
            rule = f"the change of {name} is {fault}"
            raise DeltaError(where, rule, "keep the motion as it is") from fault
    header = delta.header.model_copy(update={"parametrization": "int8"})
    return MotionDelta(header, tensors)


def losses(delta: MotionDelta, compressed: MotionDelta, backbone: DeltaTarget) -> list[Loss]:
    """What :func:`compress` made of every parameter, in order of names.

    Args:
        delta: of whole values.
        compressed: what was made of it.
        backbone: the base model; nothing may be applied to it at this moment.
    """
    base = dict(backbone.denoiser.named_parameters())
    found: list[Loss] = []
    for name in delta.parameters:
        before = delta.tensors[name].nbytes
        if name in compressed.tensors:
            found.append(Loss(name, before, compressed.tensors[name].nbytes, 0.0))
            continue
        after = compressed.tensors[name + CODES].nbytes + compressed.tensors[name + SCALE].nbytes
        change = delta.change(name, base).double()
        error = (compressed.change(name, base).double() - change).norm()
        length = change.norm()
        found.append(Loss(name, before, after, float(error / length) if length else 0.0))
    return found
