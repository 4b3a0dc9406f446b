"""What only a GPU shows of the pool: pinned host memory, exact swaps, device memory kept flat."""

from __future__ import annotations

import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.compression import compress
from motion_ray.customization.delta import MotionDelta
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.sources import StoreSource
from motion_ray.store import DeltaStore
from tests.deltas import changed, header, low_rank


def test_motions_swap_exactly_and_stay_in_their_budget(tiny_bases, tmp_path):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cuda")
    store = DeltaStore(tmp_path)
    deltas = [MotionDelta(header(backbone, name=f"m{n}"), changed(backbone, n)) for n in range(4)]
    records = [store.resolve(store.publish(each, each.header.name)) for each in deltas]
    before = {name: each.detach().clone() for name, each in backbone.denoiser.named_parameters()}
    size = sum(before[name].nbytes for name in deltas[0].tensors) + 5000
    pool = MotionPool(StoreSource(store), backbone, PoolConfig(device_bytes=2 * size))
    parameters = dict(backbone.denoiser.named_parameters())
    grown = []
    for number in range(40):
        record, delta = records[number % 4], deltas[number % 4]
        with pool.lease(Mix.of([(record, 1.0)])) as lease, lease.applied():
            for name, value in delta.tensors.items():
                assert torch.equal(parameters[name], value.to("cuda", parameters[name].dtype))
        assert pool.statistics().device.used <= 2 * size
        grown.append(torch.cuda.memory_allocated())
    assert all(torch.equal(parameters[name], each) for name, each in before.items())
    assert max(grown[8:]) == max(grown[:8]), "device memory grows"
    with pool._host.held(records[3]) as delta:
        assert all(each.is_pinned() for each in delta.tensors.values())
    pool.close()


def test_every_form_is_brought_over_as_it_is_applied(tiny_bases, tmp_path):
    """Through page-locked memory, many tensors at once, as one by one without a pool."""
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cuda")
    store = DeltaStore(tmp_path)
    whole = MotionDelta(header(backbone, name="whole"), changed(backbone))
    factors = header(backbone, name="factors", parametrization="lora")
    deltas = [whole, compress(whole, backbone), MotionDelta(factors, low_rank(backbone))]
    assert {each.header.parametrization for each in deltas} == {"full", "int8", "lora"}
    records = [store.resolve(store.publish(each, f"m{n}")) for n, each in enumerate(deltas)]
    parameters = dict(backbone.denoiser.named_parameters())
    base = {name: each.detach().clone() for name, each in parameters.items()}
    pool = MotionPool(StoreSource(store), backbone)
    for record, delta in zip(records, deltas, strict=True):
        expected = base | delta.values(base)
        with pool.lease(Mix.of([(record, 1.0)])) as lease, lease.applied():
            assert all(torch.equal(parameters[name], each) for name, each in expected.items())
    assert all(torch.equal(parameters[name], each) for name, each in base.items())
    pool.close()
