"""Exchange of a loaded base model's values for others, and back, bit for bit.

Parameters get other storage and, at the end, their own again; nothing is added or subtracted, so
there is no drift however often it happens. Where parameters must not move, values are copied
(:mod:`motion_ray.customization.places`). ``MotionDelta.applied`` is this for one delta; serving
uses it for values that are prepared ahead.

Shapes: a value has the shape of the denoiser parameter of the same name; a row is ``[d]``, d the
text width.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from motion_ray.customization.places import places_of
from motion_ray.customization.transfer import Transfer
from motion_ray.errors import DeltaError

APPLIED = "_applied_delta"  # attribute of a denoiser while values are exchanged in it


class DeltaTarget(Protocol):
    """What a delta needs from a backbone (:class:`motion_ray.backbones.base.Backbone` has it).

    Attributes:
        denoiser: the network whose parameters are replaced.
        fingerprint: sha256 over the base model's weights and configs.
    """

    denoiser: nn.Module
    fingerprint: str

    def set_token_embedding(self, token: str, row: Tensor) -> Tensor:
        """Put ``row [d]`` in place of the embedding of ``token``; returns a copy of the old row."""
        ...


@dataclass(frozen=True, eq=False)
class TokenRow:
    """The embedding that a motion trained for its token.

    Attributes:
        token: V*.
        row: ``[d]``.
        weight: 1 is the row itself, 0 the base model's.
    """

    token: str
    row: Tensor
    weight: float = 1.0


@contextlib.contextmanager
def alone_on(denoiser: nn.Module, where: str, label: str) -> Iterator[None]:
    """Let one exchange at a time happen on a denoiser: two at once would be neither.

    Args:
        denoiser: the network.
        where: who asks, for the message.
        label: what is applied, told to whoever asks meanwhile.

    Raises:
        DeltaError: something is applied here already.
    """
    mine = [label]
    # setdefault tests and sets in one step, between threads as well. The mark is kept where the
    # state is, on the denoiser, and compared as an object: one delta applied twice is refused too.
    present = vars(denoiser).setdefault(APPLIED, mine)
    if present is not mine:
        rule = f"the delta {present[0]} is applied to this backbone already"
        raise DeltaError(where, rule, "leave its `with ... applied(...)` block first")
    try:
        yield
    finally:
        del vars(denoiser)[APPLIED]


@contextlib.contextmanager
def exchanged(
    backbone: DeltaTarget,
    values: Mapping[str, Tensor],
    rows: Sequence[TokenRow],
    where: str,
    parameters: Mapping[str, nn.Parameter],
) -> Iterator[None]:
    """The base model with other values inside; its own again on leaving. Call it :func:`alone_on`.

    Args:
        backbone: the base model.
        values: from :func:`fitted`; the parameters use this storage, or a copy in their places.
        rows: of trained tokens. Several rows of one token add up as values do: base + sum of
            weight x (row - base).
        where: whose values they are, for messages.
        parameters: of the denoiser, by name. Looking for them takes longer than the exchange.

    Raises:
        DeltaError: a row has another length than the base model's.
        BaseModelError: the base's tokenizer does not know a token.
    """
    places = places_of(backbone.denoiser)
    base_rows: dict[str, Tensor] = {}
    if places is None or not values:
        exchange = _rebound(values, parameters)
    else:
        exchange = places.filled(values, parameters)
    with exchange:
        try:
            for token in dict.fromkeys(row.token for row in rows):
                _put(backbone, [row for row in rows if row.token == token], base_rows, where)
            yield
        finally:
            # Backwards: two spellings of a token may be one row of the table.
            for token, row in reversed(base_rows.items()):
                backbone.set_token_embedding(token, row)


@contextlib.contextmanager
def _rebound(
    values: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]
) -> Iterator[None]:
    originals = {name: parameters[name].data for name in values}
    try:
        for name, value in values.items():
            parameters[name].data = value
        yield
    finally:
        for name, original in originals.items():
            parameters[name].data = original


def fitted(
    values: Iterable[tuple[str, Tensor]],
    base: Mapping[str, Tensor],
    where: str,
    *,
    computed: bool = False,
) -> dict[str, Tensor]:
    """Every value in its parameter's type and on its device, all checked; no copy where it fits.

    Args:
        values: parameter names with new values, taken one at a time.
        base: parameter name to the base model's value.
        where: whose values they are, for messages.
        computed: whether they come from arithmetic, which may overflow in any type, and not from a
            file whose values were looked at when it was read.

    Raises:
        DeltaError: a name that the base does not have, another shape, or a value too large for the
            base's type.
    """
    found: dict[str, Tensor] = {}
    unseen: dict[str, Tensor] = {}
    transfer = Transfer()
    for name, tensor in values:
        check_shape(name, tuple(tensor.shape), base, where)
        value = transfer.fitted(tensor, base[name])
        if computed or _may_overflow(tensor.dtype, value.dtype):
            unseen[name] = value
        found[name] = value
    if not are_finite(*unseen.values()):
        name = next(name for name, value in unseen.items() if not are_finite(value))
        rule = f"tensor {name} does not fit into {found[name].dtype}".replace("torch.", "")
        raise DeltaError(where, rule, "load the base model in bfloat16 or float32")
    return found


def _may_overflow(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether a finite value of one type may be none in another."""
    if not given.is_floating_point:
        return given != wanted
    return torch.finfo(wanted).max < torch.finfo(given).max


def check_shape(name: str, shape: tuple[int, ...], base: Mapping[str, Tensor], where: str) -> None:
    """Refuse a value that no parameter of the base model could take.

    Raises:
        DeltaError: there is no such parameter, or it has another shape.
    """
    if name not in base:
        rule = f"tensor {name} is extra: the base model has no such parameter"
        raise DeltaError(where, rule, "customize again on this base")
    if shape != tuple(base[name].shape):
        rule = f"tensor {name} has shape {list(shape)}"
        expected = f"the base model's parameter has {list(base[name].shape)}"
        raise DeltaError(where, f"{rule}, {expected}", "customize again on this base")


def are_finite(*tensors: Tensor) -> bool:
    """Whether all values of all tensors are finite."""
    some = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    # Extremes are NaN if a value is, and read every value once; isfinite takes 14 times as long.
    if not all(math.isfinite(end) for t in some if not t.is_cuda for end in torch.aminmax(t)):
        return False
    there = [t for t in some if t.is_cuda]
    if not there:
        return True
    # Of all at once: to look at each by itself would wait for the GPU as often.
    largest = torch._foreach_norm(there, float("inf"))
    return bool(torch.isfinite(torch.stack(largest)).all())


def row_misfit(row: Tensor, expected: str, where: str) -> DeltaError:
    """The error of a trained token's row that does not fit."""
    rule = f"tensor token_embedding has shape {list(row.shape)}, {expected}"
    return DeltaError(where, rule, "customize again on this base")


def _put(
    backbone: DeltaTarget, rows: Sequence[TokenRow], base_rows: dict[str, Tensor], where: str
) -> None:
    """Put the rows of one token in place, and note the base model's own first."""
    token = rows[0].token
    for row in rows:
        try:
            previous = backbone.set_token_embedding(token, row.row)
        except RuntimeError as fault:
            expected = "the base model's rows have another length"
            raise row_misfit(row.row, expected, where) from fault
        base = base_rows.setdefault(token, previous)
        if base.shape != row.row.shape:  # torch would spread a row of length 1 over the whole width
            raise row_misfit(row.row, f"the base model's rows have {list(base.shape)}", where)
    if [row.weight for row in rows] != [1.0]:
        base = base_rows[token].float()
        summed = base + sum(row.weight * (row.row.to(base) - base) for row in rows)
        backbone.set_token_embedding(token, summed)
