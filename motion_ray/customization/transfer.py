"""Tensors of a delta on their way to where the base model is."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, target: Tensor) -> Tensor:
    """A tensor as it is where another one lies: converted there, for from pinned memory the way
    waits for nothing.
    """
    return tensor.to(target.device, non_blocking=target.is_cuda)


class Transfer:
    """Brings what lies in one piece of page-locked memory (:mod:`motion_ray.serving.pinning`) to a
    GPU as a whole: for a few hundred small tensors Python takes longer than the bus.

    The tensors it gives share memory too. For those of one delta, which come and go together.
    """

    def __init__(self) -> None:
        self._there: dict[tuple[int, torch.dtype], Tensor] = {}

    def fitted(self, tensor: Tensor, target: Tensor) -> Tensor:
        """A tensor in the type of another one, and where that lies; no copy where it fits."""
        piece = tensor.untyped_storage()
        key = (piece.data_ptr(), target.dtype)
        whole = self._there.get(key)  # first: to ask whether memory is locked takes much longer
        if whole is None:
            if not shares_locked_memory(tensor, target):
                return moved(tensor, target).to(target.dtype)
            # What lies between the tensors is converted too, and never read.
            flat = torch.empty(0, dtype=tensor.dtype).set_(piece)
            whole = self._there[key] = moved(flat, target).to(target.dtype)
        return whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def shares_locked_memory(tensor: Tensor, target: Tensor) -> bool:
    """Whether it is one of several tensors in page-locked memory, on its way to a GPU."""
    if not target.is_cuda or tensor.is_cuda:
        return False
    return tensor.untyped_storage().nbytes() > tensor.nbytes and tensor.is_pinned()
