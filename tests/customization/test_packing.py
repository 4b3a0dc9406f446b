"""Packing tensors into a few pieces of memory."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from motion_ray.customization.packing import ALIGNMENT, packed
from motion_ray.serving import pinning
from motion_ray.serving.pinning import piece_of

PIECE = 2**20


def test_everything_is_there_in_few_pieces_and_aligned(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    types = (torch.float16, torch.float32, torch.bfloat16, torch.int8)
    shapes = [(3,), (5, 7), (), (0, 4), (2, 3, 1, 5), (PIECE // 4 + 1,), (PIECE // 3,), (11,)] * 4
    tensors = {
        f"t{number}": torch.randn(shape, generator=generator).to(types[number % 4])
        for number, shape in enumerate(shapes)
    }
    taken: list[Tensor] = []

    def take(nbytes: int) -> Tensor:
        taken.append(torch.full((nbytes,), 77, dtype=torch.uint8))
        return taken[-1]

    monkeypatch.setattr(pinning, "PIECE", PIECE)
    found = packed(tensors, take, piece_of)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        offset = found[name].storage_offset() * found[name].itemsize
        assert found[name].is_contiguous() and offset % ALIGNMENT == 0
        assert found[name].data_ptr() % 64 == 0  # as torch aligns memory on a CPU
    # not more pieces than a first fit in order can need, and nothing outside of them
    sizes = [each.numel() for each in taken]
    largest = max(each.nbytes for each in tensors.values())
    assert all(size <= max(PIECE, largest + ALIGNMENT) for size in sizes)
    assert sum(sizes) < sum(each.nbytes for each in tensors.values()) + ALIGNMENT * len(tensors)
    assert len(taken) < len(tensors) / 2
    pieces = {each.untyped_storage().data_ptr() for each in taken}
    assert {each.untyped_storage().data_ptr() for each in found.values()} <= pieces
    for one, other in itertools.combinations(found.values(), 2):
        if one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr():
            assert one.dtype == other.dtype  # a piece is converted as a whole


def test_little_is_locked_in_vain_at_the_end():
    """Torch locks a power of two: 130 MB of small tensors must not take 256."""
    tensors = {f"t{n}": torch.zeros(100_000, dtype=torch.uint8) for n in range(65)}
    taken: list[int] = []

    def take(nbytes: int) -> Tensor:
        taken.append(nbytes)
        return torch.empty(nbytes, dtype=torch.uint8)

    packed(tensors, take, piece_of)
    locked = sum(1 << (nbytes - 1).bit_length() for nbytes in taken)
    assert sum(taken) > 6_500_000 and locked < 1.3 * sum(taken) and len(taken) < 6


def test_of_nothing_nothing_is_taken():
    assert packed({}, lambda nbytes: torch.empty(1 // 0), piece_of) == {}
