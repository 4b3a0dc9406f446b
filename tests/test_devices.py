"""Devices: which is taken, and one that computes nothing more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_ray.devices import check_works, resolve_device
from motion_ray.errors import ConfigError, DeviceError

FAULT = RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")


def failing(fault: Exception):
    def ones(*_: object, **__: object) -> Tensor:
        raise fault

    return ones


def test_what_is_no_device_is_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'gpu0' is the name of no device"):
        resolve_device("gpu0")


@pytest.mark.parametrize("later", [FAULT, RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")])
def test_a_gpu_that_adds_no_numbers_is_told_from_one_failure(monkeypatch, later) -> None:
    monkeypatch.setattr(torch, "ones", failing(later))
    with pytest.raises(DeviceError, match=r"cuda:1: .*nothing more .*: CUDA error: device-side"):
        check_works(torch.device("cuda", 1), FAULT)


def test_what_works_goes_on(monkeypatch) -> None:
    check_works(torch.device("cpu"), FAULT)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
    check_works(torch.device("cuda"), FAULT)


def test_a_gpu_that_is_full_is_not_broken(monkeypatch) -> None:
    monkeypatch.setattr(torch, "ones", failing(torch.OutOfMemoryError("none left")))
    check_works(torch.device("cuda"), FAULT)
