"""Low-rank deltas (LoRA): two thin matrices a parameter, merged into whole values for use.

A change of rank r of a parameter is stored as its factors, which are far smaller than the value.
Merging when a delta is loaded costs nothing per denoising step, while factors beside the weights
would be multiplied at every one.

Shapes: parameter P ``[o, ...]``, i the product of its other sides; ``P.lora_a`` is ``[r, i]`` and
``P.lora_b`` is ``[o, r]``. The value is base + b a. The usual factor alpha / r is multiplied into b
when a delta is made, so that a file needs no further setting to be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from motion_ray.customization.swap import check_shape
from motion_ray.customization.transfer import moved
from motion_ray.errors import DeltaError

A, B = ".lora_a", ".lora_b"
_PEFT = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def factored(names: Iterable[str], where: str) -> list[str]:
    """The parameters whose factors these are, sorted.

    Args:
        names: of the tensors of a low-rank delta, without the token's row.
        where: whose they are, for messages.

    Raises:
        DeltaError: a tensor that is no factor, or a factor without its partner.
    """
    names = set(names)
    for name in sorted(names):
        partner = name.removesuffix(A) + B if name.endswith(A) else name.removesuffix(B) + A
        if not name.endswith((A, B)):
            rule = f"tensor {name} is not a factor of a low-rank delta"
            raise DeltaError(where, rule, f"names end in {A} or {B}")
        if partner not in names:
            raise DeltaError(where, f"tensor {partner} is missing, {name} needs it")
    return sorted(name.removesuffix(A) for name in names if name.endswith(A))


def product(tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
    """The change b a of one parameter, float32 on the device and in the shape of ``target``.

    Args:
        tensors: the factors; :func:`check_factors` has passed.
        name: the parameter.
        target: the base model's value.
    """
    a, b = tensors[name + A], tensors[name + B]
    change = moved(b, target).float() @ moved(a, target).float()
    return change.view_as(target)


def from_peft(
    state: Mapping[str, Tensor], *, alpha: float, rank_stabilized: bool = False
) -> dict[str, Tensor]:
    """Factors as a delta holds them, from an adapter of the peft library.

    Args:
        state: what ``peft.get_peft_model_state_dict`` gives for a denoiser wrapped by
            ``get_peft_model`` (names such as ``base_model.model.conv_in.lora_A.weight``).
        alpha: ``lora_alpha`` of its config.
        rank_stabilized: its ``use_rslora``: the factor is then alpha / sqrt(r).

    Raises:
        DeltaError: the adapter holds more than pairs of factors (biases, DoRA, embeddings).
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _PEFT.fullmatch(name)
        if match is None:
            rule = f"tensor {name[:200]} is not a factor of a linear or convolution weight"
            raise DeltaError("peft adapter", rule, "train with bias='none' and without DoRA")
        parameter = f"{match['module']}.weight"
        if match["side"] == "A":
            found[parameter + A] = tensor.detach().flatten(1).clone()
            continue
        rank = tensor.shape[1]
        scale = alpha / (rank**0.5 if rank_stabilized else rank)
        found[parameter + B] = tensor.detach().flatten(1).clone() * scale
    factored(found, "peft adapter")
    return found


def check_factors(
    tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
) -> None:
    """Refuse factors that do not fit together, or to the parameter.

    Raises:
        DeltaError: there is no such parameter, or a shape differs.
    """
    if name not in base:
        check_shape(name, (), base, where)
    a, b, target = tensors[name + A], tensors[name + B], base[name]
    columns = target[0].numel() if target.dim() else 1
    fits = target.dim() > 0 and a.dim() == b.dim() == 2
    if not fits or (b.shape[0], b.shape[1], a.shape[1]) != (target.shape[0], a.shape[0], columns):
        rule = f"factors of {name} have shapes {list(b.shape)} and {list(a.shape)}"
        expected = f"the base model's parameter has {list(target.shape)}"
        raise DeltaError(where, f"{rule}, {expected}", "customize again on this base")
