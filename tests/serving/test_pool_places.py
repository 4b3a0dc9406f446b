"""Where a pool's motions are by order: loaded before anybody wants them, and pinned."""

from __future__ import annotations

import pytest

from motion_ray.errors import DeltaError, PoolError
from motion_ray.serving.pool import MotionPool, PoolConfig
from tests.serving.toy import ToyBase, toy_delta


def test_loading_ahead_of_need_holds_nothing_and_tells_what_is_wrong(library):
    one, two = library.add(toy_delta(1)), library.add(toy_delta(2))
    library.broken.add(two.sha256)
    pool = MotionPool(library, ToyBase(), PoolConfig())
    pool.load(one, "host")
    assert pool.residency() == {one.sha256: "host"}
    pool.load(one, "device")
    assert pool.residency() == {one.sha256: "device"}
    assert pool.pinned() == {}
    assert pool.statistics().device.held == pool.statistics().host.held == 0
    with pytest.raises(DeltaError, match="is damaged"):
        pool.load(two, "device")
    with pytest.raises(PoolError, match="does not fit"):
        MotionPool(library, ToyBase(), PoolConfig(host_bytes=0)).load(one, "host")


def test_pins_are_listed_with_their_place(library):
    one, two = library.add(toy_delta(1)), library.add(toy_delta(2))
    pool = MotionPool(library, ToyBase(), PoolConfig())
    pool.pin(one, "host")
    pool.pin(two, "device")
    assert pool.pinned() == {one.sha256: "host", two.sha256: "device"}
    pool.pin(one, "device")
    assert pool.pinned()[one.sha256] == "device"
    pool.unpin(one)
    assert pool.pinned() == {two.sha256: "device"}
