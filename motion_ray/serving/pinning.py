"""Page-locked copies of a delta: transfers from there to a GPU need no copy on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

#: Bytes; torch rounds what it locks up to a power of two, so that pieces with room for two or three
#: tensors would take up to half more than these do.
PIECE = 256 * 2**20
SMALLEST = 2**20  # bytes; of pieces, so that they stay few
ALIGNMENT = 64  # bytes; of every tensor in a piece


def page_locked(nbytes: int) -> Tensor:
    """So many bytes, uint8 ``[nbytes]``; needs a GPU."""
    return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)


def pinned(
    tensors: Mapping[str, Tensor],
    take: Callable[[int], Tensor] = page_locked,
    largest: int = PIECE,
) -> dict[str, Tensor]:
    """The same tensors in page-locked memory, small ones together: locking takes longer than
    copying.

    Args:
        tensors: on the CPU.
        take: gives memory, uint8 of so many bytes.
        largest: bytes to ask for at once, where one tensor does not need more.
    """
    found: dict[str, Tensor] = {}
    piece: dict[str, Tensor] = {}
    filled, left = 0, sum(map(_aligned, tensors.values()))
    room = _room(left, largest)
    for name, tensor in tensors.items():
        if piece and filled + _aligned(tensor) > room:
            found |= _packed(piece, take(filled))
            left -= filled
            piece, filled, room = {}, 0, _room(left, largest)
        piece[name] = tensor
        filled += _aligned(tensor)
    return found | (_packed(piece, take(filled)) if piece else {})


def _room(left: int, largest: int) -> int:
    """Bytes of the next piece: a power of two that the rest fills, so that little is locked in vain
    at the end.
    """
    return min(largest, max(SMALLEST, 1 << max(left, 1).bit_length() - 1))


def _packed(tensors: Mapping[str, Tensor], memory: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    offset = 0
    for name, tensor in tensors.items():
        place = memory[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        found[name] = place.copy_(tensor)
        offset += _aligned(tensor)
    return found


def _aligned(tensor: Tensor) -> int:
    return -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
