"""Page-locked copies of a delta: transfers from there to a GPU need no copy on the way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from motion_ray.customization.packing import packed

#: Bytes; torch rounds what it locks up to a power of two, so that pieces with room for two or three
#: tensors would take up to half more than these do.
PIECE = 256 * 2**20
SMALLEST = 2**20  # bytes; of pieces, so that they stay few


def pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in page-locked memory, small ones together: locking takes longer than
    copying, and a piece is one transfer (:class:`motion_ray.customization.transfer.Transfer`).
    Needs a GPU.
    """
    return packed(tensors, _page_locked, piece_of)


def piece_of(left: int) -> int:
    """Bytes of the next piece: a power of two that the rest fills, so that little is locked in vain
    at the end.
    """
    return min(PIECE, max(SMALLEST, 1 << max(left, 1).bit_length() - 1))


def _page_locked(nbytes: int) -> Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
