"""Page-locked copies of a delta: transfers from there to a GPU need no copy on the way."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from motion_ray.customization.packing import packed

log = logging.getLogger(__name__)

#: Bytes; torch rounds what it locks up to a power of two, so that pieces with room for two or three
#: tensors would take up to half more than these do.
PIECE = 256 * 2**20
SMALLEST = 2**20  # bytes; of pieces, so that they stay few


def pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in page-locked memory, small ones together: locking takes longer than
    copying, and a piece is one transfer (:class:`motion_ray.customization.transfer.Transfer`).
    Needs a GPU. Where the system locks no more, they stay as they are: slower, and no fault of
    theirs.
    """
    try:
        return packed(tensors, _page_locked, piece_of)
    except RuntimeError as fault:
        log.warning("memory cannot be page-locked (ulimit -l?): %s", str(fault).splitlines()[0])
        return dict(tensors)


def piece_of(left: int) -> int:
    """Bytes of the next piece: a power of two that the rest fills, so that little is locked in vain
    at the end.
    """
    return min(PIECE, max(SMALLEST, 1 << max(left, 1).bit_length() - 1))


def _page_locked(nbytes: int) -> Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
