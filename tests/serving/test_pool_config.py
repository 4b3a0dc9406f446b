"""Budgets of a pool: what is asked for, or a part of what there is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from motion_ray import devices
from motion_ray.serving import pool_config
from motion_ray.serving.pool_config import PoolConfig

GIB = 2**30
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("memory", "device", "host"), [(4, 0.5, 0.5), (24, 3, 3), (256, 4, 8)], ids=str
)
def test_unasked_a_tier_takes_an_eighth_of_the_memory(monkeypatch, memory, device, host) -> None:
    monkeypatch.setattr(pool_config, "machine_memory", lambda: memory * GIB)
    config = PoolConfig()
    assert config.device_budget(CPU) == device * GIB
    assert config.host_budget() == host * GIB


def test_of_a_gpu_an_eighth_of_its_own(monkeypatch) -> None:
    card = SimpleNamespace(total_memory=16 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert PoolConfig().device_budget(torch.device("cuda")) == 2 * GIB


def test_what_is_asked_for_counts() -> None:
    config = PoolConfig(device_bytes=0, host_bytes=2**50)
    assert (config.device_budget(CPU), config.host_budget()) == (0, 2**50)


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path) -> None:
    limit, none = tmp_path / "memory.max", tmp_path / "absent"
    monkeypatch.setattr(devices, "CONTAINER_LIMITS", (none,))
    whole = devices.machine_memory()
    monkeypatch.setattr(devices, "CONTAINER_LIMITS", (none, limit))
    for text, expected in (("max\n", whole), ("9223372036854771712", whole), ("1048576\n", 2**20)):
        limit.write_text(text)
        assert devices.machine_memory() == expected
