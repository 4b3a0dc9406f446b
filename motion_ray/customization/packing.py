"""Many small tensors in few pieces of memory, where it is the number of pieces that costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from torch import Tensor

#: Bytes, of every tensor in a piece: what torch's own allocations have on a GPU, and twice what
#: matrix libraries look at to choose an algorithm, so that halved (float32 that becomes bfloat16 as
#: a whole) it is still the algorithm, and the bits, of tensors that lie alone.
ALIGNMENT = 512


def packed(
    tensors: Mapping[str, Tensor], take: Callable[[int], Tensor], room: Callable[[int], int]
) -> dict[str, Tensor]:
    """Contiguous copies, those of a type together.

    Args:
        tensors: anywhere.
        take: gives memory for a piece, uint8 of so many bytes.
        room: bytes of the next piece, of those that are left; one tensor may need more.
    """
    found: dict[str, Tensor] = {}
    names = sorted(tensors, key=lambda name: str(tensors[name].dtype))
    for _, alike in itertools.groupby(names, key=lambda name: tensors[name].dtype):
        found |= _in_pieces({name: tensors[name] for name in alike}, take, room)
    return {name: found[name] for name in tensors}


def _in_pieces(
    tensors: Mapping[str, Tensor], take: Callable[[int], Tensor], room: Callable[[int], int]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    piece: dict[str, Tensor] = {}
    filled, left = 0, sum(map(_aligned, tensors.values()))
    space = room(left)
    for name, tensor in tensors.items():
        if piece and filled + _aligned(tensor) > space:
            found |= _filled(piece, take(filled))
            left -= filled
            piece, filled, space = {}, 0, room(left)
        piece[name] = tensor
        filled += _aligned(tensor)
    return found | (_filled(piece, take(filled)) if piece else {})


def _filled(tensors: Mapping[str, Tensor], memory: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    offset = 0
    for name, tensor in tensors.items():
        place = memory[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        found[name] = place.copy_(tensor)
        offset += _aligned(tensor)
    return found


def _aligned(tensor: Tensor) -> int:
    return -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
