"""The forms in which a delta can hold the new values of parameters: whole, low-rank, compressed.

A form says which tensors belong to which parameter, whether they fit a base model, and what the
parameter becomes. The header of a delta names its form, :data:`Parametrization`.

Shapes: a value has the shape of the denoiser parameter of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor

from motion_ray.customization.low_rank import check_factors, factored, product
from motion_ray.customization.quantized import CODES, SCALE, check_codes, coded, expand
from motion_ray.customization.swap import check_shape
from motion_ray.customization.transfer import moved

Parametrization = Literal["full", "lora", "int8"]
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


class Form(Protocol):
    """One way to hold values. ``tensors`` never has the token's row here."""

    def types(self, name: str) -> tuple[torch.dtype, ...]:
        """The types that the tensor of this name may have."""
        ...

    def parameters(self, names: Iterable[str], where: str) -> list[str]:
        """The parameters that tensors of these names change, sorted.

        Raises:
            DeltaError: a tensor that has no place in this form, or lacks its partner.
        """
        ...

    def check(
        self, tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
    ) -> None:
        """Refuse the tensors of one parameter if they do not fit it.

        Raises:
            DeltaError: there is no such parameter, or a shape differs.
        """
        ...

    def value(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """What a parameter becomes, of any type and on any device; :meth:`check` has passed.

        Args:
            tensors: of the delta.
            name: the parameter.
            target: the base model's value.
        """
        ...

    def change(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """How far it moves from the base, float32 on the device of ``target``."""
        ...


class WholeForm:
    """Every value as it is."""

    def types(self, name: str) -> tuple[torch.dtype, ...]:
        """See :class:`Form`."""
        return FLOATS

    def parameters(self, names: Iterable[str], where: str) -> list[str]:
        """See :class:`Form`."""
        return sorted(names)

    def check(
        self, tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
    ) -> None:
        """See :class:`Form`."""
        check_shape(name, tuple(tensors[name].shape), base, where)

    def value(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`: the delta's own storage."""
        return tensors[name]

    def change(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`."""
        return moved(tensors[name], target).float() - target.detach().float()


class LowRankForm:
    """Factors of the change, :mod:`motion_ray.customization.low_rank`."""

    def types(self, name: str) -> tuple[torch.dtype, ...]:
        """See :class:`Form`."""
        return FLOATS

    def parameters(self, names: Iterable[str], where: str) -> list[str]:
        """See :class:`Form`."""
        return factored(names, where)

    def check(
        self, tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
    ) -> None:
        """See :class:`Form`."""
        check_factors(tensors, name, base, where)

    def value(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`."""
        return target.detach().float() + product(tensors, name, target)

    def change(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`."""
        return product(tensors, name, target)


class QuantizedForm(WholeForm):
    """The change in eight bits, :mod:`motion_ray.customization.quantized`; small values whole."""

    def types(self, name: str) -> tuple[torch.dtype, ...]:
        """See :class:`Form`."""
        if name.endswith(CODES):
            return (torch.int8,)
        return (torch.float32,) if name.endswith(SCALE) else FLOATS

    def parameters(self, names: Iterable[str], where: str) -> list[str]:
        """See :class:`Form`."""
        return coded(names, where)

    def check(
        self, tensors: Mapping[str, Tensor], name: str, base: Mapping[str, Tensor], where: str
    ) -> None:
        """See :class:`Form`."""
        if name in tensors:
            super().check(tensors, name, base, where)
        else:
            check_codes(tensors, name, base, where)

    def value(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`."""
        if name in tensors:
            return super().value(tensors, name, target)
        return target.detach().float() + expand(tensors, name, target)

    def change(self, tensors: Mapping[str, Tensor], name: str, target: Tensor) -> Tensor:
        """See :class:`Form`."""
        if name in tensors:
            return super().change(tensors, name, target)
        return expand(tensors, name, target)


FORMS: Mapping[Parametrization, Form] = MappingProxyType(
    {"full": WholeForm(), "lora": LowRankForm(), "int8": QuantizedForm()}
)
