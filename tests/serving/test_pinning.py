"""Page-locked copies where the system locks no memory."""

from __future__ import annotations

import logging

import pytest
import torch

from motion_ray.serving import pinning


def test_what_cannot_be_locked_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(nbytes: int) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory\nCompile with ...")

    monkeypatch.setattr(pinning, "_page_locked", refused)
    tensors = {"a": torch.ones(3), "b": torch.zeros(2)}
    with caplog.at_level(logging.WARNING):
        found = pinning.pinned(tensors)
    assert found == tensors and all(found[name] is tensors[name] for name in tensors)
    assert "cannot be page-locked (ulimit -l?): CUDA error: out of memory" in caplog.text
