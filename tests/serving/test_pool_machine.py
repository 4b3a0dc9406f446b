"""Any sequence of leases, mixes, pins, publications, damages and departures in a tight budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError, PoolBusyError, PoolError
from motion_ray.serving.lease import MotionLease
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.tier import OVERHEAD
from motion_ray.store import DeltaRecord
from tests.serving.toy import Library, ToyBase, record_of, toy_delta

NAMES = ("arms", "hat", "legs")
PARAMETERS = {"arms": "ab", "hat": "cd", "legs": "bc"}
SIZE = toy_delta(0).nbytes + OVERHEAD
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0])
CHOICES = st.lists(
    st.tuples(st.sampled_from(NAMES), WEIGHTS), max_size=2, unique_by=lambda choice: choice[0]
)


class PoolMachine(RuleBasedStateMachine):
    """What is applied is always what was asked for; what is held is always there."""

    leases = Bundle("leases")

    @initialize(device=st.floats(1, 4), host=st.floats(0, 4))
    def start(self, device, host):
        self.library = Library()
        self.newest: dict[str, DeltaRecord] = {}
        self.base = ToyBase()
        self.before, self.own = self.base.state(), self.base.values()
        self.now = 0.0
        self.config = PoolConfig(
            device_bytes=int(device * SIZE), host_bytes=int(host * SIZE), broken_s=10
        )
        self.pool = MotionPool(self.library, self.base, self.config, clock=lambda: self.now)
        self.deltas: dict[str, MotionDelta] = {}
        self.open: list[MotionLease] = []
        self.seed = 0
        for name in NAMES:
            self.publish(name)

    def teardown(self):
        for lease in self.open:
            lease.release()
        self.pool.close()
        found = self.pool.statistics()
        assert (found.device.entries, found.device.used) == (0, 0)
        assert (found.host.entries, found.host.used) == (0, 0)
        assert self.base.state() == self.before

    @rule(name=st.sampled_from(NAMES))
    def publish(self, name):
        self.seed += 1
        delta = toy_delta(self.seed, PARAMETERS[name], name=name)
        self.library.add(delta)
        version = self.newest[name].version + 1 if name in self.newest else 1
        self.newest[name] = record_of(delta, name, version)
        self.deltas[self.newest[name].reference] = delta

    def mix(self, choices) -> Mix:
        return Mix.of([(self.newest[name], weight) for name, weight in choices])

    @rule(target=leases, choices=CHOICES)
    def lease(self, choices):
        mix = self.mix(choices)
        try:
            lease = self.pool.lease(mix, timeout=0)
        except PoolBusyError:
            assert self.open, "nobody holds anything, so there is room"
            return None
        except PoolError as fault:
            assert self.pool.statistics().device.used <= self.config.device_bytes
            assert "raise the budget" in str(fault)
            return None
        except DeltaError:
            assert any(part.record.sha256 in self.library.broken for part in mix.parts)
            return None
        self.open.append(lease)
        return lease

    @rule(lease=leases)
    def apply(self, lease):
        if lease not in self.open:
            return
        expected = {name: value.clone() for name, value in self.own.items()}
        for part in lease.mix.parts:
            delta = self.deltas[part.record.reference]
            for name, value in delta.tensors.items():
                expected[name] += part.weight * (value - self.own[name])
        with lease.applied():
            found = self.base.values()
        exact = len(lease.mix.parts) <= 1 and lease.mix.single is not None
        for name, value in expected.items():
            assert torch.allclose(found[name], value, atol=1e-5)
            if exact and name in self.deltas[lease.mix.parts[0].record.reference].tensors:
                single = self.deltas[lease.mix.parts[0].record.reference]
                assert torch.equal(found[name], single.tensors[name])
        assert self.base.state() == self.before

    @rule(lease=consumes(leases))
    def release(self, lease):
        if lease in self.open:
            self.open.remove(lease)
            lease.release()

    @rule(name=st.sampled_from(NAMES), level=st.sampled_from(["device", "host"]))
    def pin(self, name, level):
        record = self.newest[name]
        try:
            self.pool.pin(record, level)
        except (PoolError, DeltaError):
            return
        assert self.pool.place(record) == "device" or self.pool.place(record) == level

    @rule(name=st.sampled_from(NAMES))
    def unpin(self, name):
        self.pool.unpin(self.newest[name])

    @rule(name=st.sampled_from(NAMES))
    def unload(self, name):
        record = self.newest[name]
        held = any(record == part.record for lease in self.open for part in lease.mix.parts)
        gone = self.pool.unload(record)
        if gone:
            assert self.pool.place(record) == "disk"
        else:
            assert held

    @rule(name=st.sampled_from(NAMES), broken=st.booleans())
    def damage(self, name, broken):
        sha256 = self.newest[name].sha256
        (self.library.broken.add if broken else self.library.broken.discard)(sha256)
        if not broken:
            self.now += 10  # what was mended is tried again after its time

    @precondition(lambda self: self.library.broken)
    @rule()
    def wait(self):
        self.now += 1

    @invariant()
    def the_account_agrees(self):
        found = self.pool.statistics()
        assert found.device.used <= self.config.device_bytes
        assert found.host.used <= self.config.host_bytes
        assert found.device.held <= found.device.used
        for lease in self.open:
            if lease.mix.single is not None:
                assert self.pool.place(lease.mix.single) == "device"


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_budget_too_small_for_two_still_serves_each():
    """The machine's smallest budgets, written out."""
    library = Library(one := toy_delta(1, "ab"), two := toy_delta(2, "cd"))
    records = [record_of(one), record_of(two)]
    base = ToyBase()
    pool = MotionPool(library, base, PoolConfig(device_bytes=SIZE, host_bytes=0))
    for record, delta in zip(records * 2, (one, two) * 2, strict=True):
        with pool.lease(Mix.of([(record, 1.0)]), timeout=0) as lease, lease.applied():
            for name, value in delta.tensors.items():
                assert torch.equal(base.values()[name], value)
    with pytest.raises(PoolError, match="do not fit into it together"):
        pool.lease(Mix.of([(record, 1.0) for record in records]))
