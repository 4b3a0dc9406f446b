"""What a mix of motions makes of the base model's parameters.

A parameter that one motion changes, at weight 1, takes that motion's value as it is: no arithmetic,
no memory of its own. Every other changed parameter is summed once:
base + sum of weight x (motion - base), in float32.

Shapes: a value has the shape of the denoiser parameter of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.swap import TokenRow, fitted
from motion_ray.serving.mix import Part
from motion_ray.store import DeltaRecord


@dataclass(frozen=True)
class Borrowed:
    """A motion whose own values a mix uses.

    Attributes:
        record: the motion.
        names: of the parameters that it alone changes, at weight 1.
        nbytes: of all its values together.
    """

    record: DeltaRecord
    names: tuple[str, ...]
    nbytes: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """Values that can be exchanged with the base model's at once.

    Attributes:
        values: parameter name to value, on the base's device and in its type.
        borrowed: motions whose own values are used as they are.
        rows: of trained tokens.
    """

    values: Mapping[str, Tensor]
    borrowed: tuple[Borrowed, ...] = ()
    rows: tuple[TokenRow, ...] = ()


@dataclass(frozen=True)
class BlendPlan:
    """Who contributes to which parameter.

    Attributes:
        borrowed: for each motion, the parameters that it alone changes, at weight 1.
        summed: parameter name to the motions (by position) that are summed there.
    """

    borrowed: tuple[tuple[str, ...], ...]
    summed: Mapping[str, tuple[int, ...]]


def plan_blend(parts: Sequence[Part], deltas: Sequence[MotionDelta]) -> BlendPlan:
    """Sort the parameters into those that are borrowed and those that are summed.

    Args:
        parts: of the mix.
        deltas: of the parts, in the same order.
    """
    touched: dict[str, list[int]] = {}
    for index, delta in enumerate(deltas):
        for name in delta.parameters:
            touched.setdefault(name, []).append(index)
    borrowed: list[list[str]] = [[] for _ in parts]
    summed: dict[str, tuple[int, ...]] = {}
    for name, indices in touched.items():
        if len(indices) == 1 and parts[indices[0]].weight == 1.0:
            borrowed[indices[0]].append(name)
        else:
            summed[name] = tuple(indices)
    return BlendPlan(tuple(map(tuple, borrowed)), summed)


def blend(
    plan: BlendPlan,
    parts: Sequence[Part],
    deltas: Sequence[MotionDelta],
    base: Mapping[str, Tensor],
    where: str,
) -> Prepared:
    """Sum what has to be summed, one parameter at a time.

    Args:
        plan: from :func:`plan_blend`.
        parts: of the mix.
        deltas: of the parts, in the same order.
        base: parameter name to the base model's own value.
        where: the mix, for messages.

    Raises:
        DeltaError: a sum is too large for the base's type.
    """

    def sums() -> Iterator[tuple[str, Tensor]]:
        for name, indices in plan.summed.items():
            total = base[name].detach().float().clone()
            for index in indices:
                total.add_(deltas[index].change(name, base), alpha=parts[index].weight)
            yield name, total

    values = fitted(sums(), base, where, computed=True)
    rows = tuple(
        replace(row, weight=part.weight)
        for part, delta in zip(parts, deltas, strict=True)
        for row in delta.rows
    )
    borrowed = tuple(
        Borrowed(part.record, names, sum(base[name].nbytes for name in delta.parameters))
        for part, delta, names in zip(parts, deltas, plan.borrowed, strict=True)
        if names
    )
    return Prepared(values, borrowed, rows)
