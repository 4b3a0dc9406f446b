"""What lies in one piece of memory is converted together. On a GPU: tests/gpu/test_pool.py."""

from __future__ import annotations

import torch

from motion_ray.customization import transfer
from motion_ray.customization.packing import packed
from motion_ray.customization.transfer import Transfer, shares_locked_memory


def test_views_of_a_piece_are_what_each_alone_would_be(monkeypatch):
    monkeypatch.setattr(transfer, "shares_locked_memory", lambda tensor, target: True)
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (5, 7), (), (2, 3, 1, 5), (11,)]
    tensors = {
        f"t{n}": torch.randn(shape, generator=generator).to(torch.float16)
        for n, shape in enumerate(shapes)
    }
    # what lies between them is not a number
    both = packed(tensors, lambda nbytes: torch.full((nbytes,), 255, dtype=torch.uint8), int)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        together = Transfer()
        for name, tensor in tensors.items():
            value = together.fitted(both[name], torch.zeros(1, dtype=kind))
            assert value.dtype == kind and torch.equal(value, tensor.to(kind))
            assert value.is_contiguous()
        assert len({together.fitted(each, value).untyped_storage() for each in both.values()}) == 1


def test_on_a_cpu_nothing_is_brought_together():
    tensors = packed({"a": torch.ones(3), "b": torch.ones(4)}, lambda n: torch.zeros(n).byte(), int)
    assert not shares_locked_memory(tensors["a"], torch.zeros(1))
    value = Transfer().fitted(tensors["a"], torch.zeros(1))
    assert value.data_ptr() == tensors["a"].data_ptr()
