"""The pool: leases that hold, loads that happen once, budgets that are kept, errors that pass."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import Cancelled, DeltaError, PoolBusyError, PoolError, StoreError
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool
from motion_ray.serving.sources import StoreSource
from motion_ray.store import DeltaStore
from tests.serving.toy import (
    SIZE,
    budgets,
    expected,
    record_of,
    single,
    toy_delta,
)
from tests.waiting import until

# --- leases ---------------------------------------------------------------------------------------


def test_a_lease_applies_the_motion_and_gives_the_base_back(base, library):
    delta = toy_delta(1)
    record = library.add(delta)
    before = base.state()
    with MotionPool(library, base).lease(single(record)) as lease:
        assert base.state() == before
        with lease.applied():
            assert all(torch.equal(v, expected(delta, base)[n]) for n, v in base.values().items())
        assert base.state() == before
    with pytest.raises(RuntimeError, match="was given back"), lease.applied():
        raise AssertionError("the body must not run")


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_the_base_and_the_lease_come_back_after_an_exception(base, library, fault):
    pool = MotionPool(library, base)
    mix = single(library.add(toy_delta(1)))
    before = base.state()
    with pytest.raises(fault), pool.lease(mix) as lease, lease.applied():
        raise fault
    assert base.state() == before
    assert pool.statistics().device.held == 0


def test_a_load_can_be_given_up_and_serves_the_next_who_asks(base, library):
    library.open.clear()
    pool, mix = MotionPool(library, base), single(library.add(toy_delta(1)))
    with pytest.raises(Cancelled, match="while its motions were loaded"):
        pool.lease(mix, given_up=lambda: len(library.loads) > 0)
    library.open.set()
    until(lambda: pool.statistics().device.entries == 1 and not pool.statistics().device.held)
    with pool.lease(mix, given_up=lambda: False) as lease, lease.applied():
        assert lease.motions[0].found == "device"
    assert len(library.loads) == 1


def test_what_is_ready_is_given_whoever_has_given_up(base, library):
    """That takes no time; and no thread of its own, whose end would be waited for."""
    pool, mix = MotionPool(library, base), single(library.add(toy_delta(1)))
    pool.lease(mix).release()
    with pool.lease(mix, given_up=lambda: True) as lease:
        assert lease.values


def test_a_lease_is_given_back_once(base, library):
    pool = MotionPool(library, base)
    mix = single(library.add(toy_delta(1)))
    one, two = pool.lease(mix), pool.lease(mix)
    one.release()
    one.release()
    assert pool.statistics().device.held == SIZE
    two.release()
    assert pool.statistics().device.held == 0


def test_two_leases_cannot_be_applied_at_once(base, library):
    pool = MotionPool(library, base)
    one, two = (pool.lease(single(library.add(toy_delta(seed)))) for seed in (1, 2))
    with one.applied():
        inside = base.state()
        with pytest.raises(DeltaError, match="m2@1: the delta m1@1 is applied"), two.applied():
            raise AssertionError("the body must not run")
        with (
            pytest.raises(DeltaError, match="m1@1 is applied"),
            pool.lease(Mix()) as none,
            none.applied(),
        ):
            raise AssertionError("without a motion it is the base that is wanted")
        assert base.state() == inside


def test_a_lease_tells_where_its_motions_were(base, library):
    pool = MotionPool(library, base, budgets(device=1))
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    found = []
    for record in (one, one, two, one):
        with pool.lease(single(record)) as lease:
            found += [motion.found for motion in lease.motions]
    assert found == ["disk", "device", "disk", "host"]


def test_a_pool_starts_from_the_base(base, library):
    delta = toy_delta(1)
    with delta.applied(base), pytest.raises(DeltaError, match=r"'m1' .* is applied"):
        MotionPool(library, base)


# --- versions -------------------------------------------------------------------------------------


def test_a_version_stays_under_a_lease_and_the_next_lease_sees_the_new_one(base, tmp_path):
    store = DeltaStore(tmp_path)
    pool = MotionPool(StoreSource(store), base)
    old, new = toy_delta(1), toy_delta(2)
    store.publish(old, "wave")
    with pool.lease(single(store.resolve("wave"))) as lease:
        assert store.publish(new, "wave") == "wave@2"
        with pool.lease(single(store.resolve("wave"))) as later, later.applied():
            assert torch.equal(base.values()["a"], new.tensors["a"])
        with lease.applied():
            assert torch.equal(base.values()["a"], old.tensors["a"])


def test_a_store_that_changes_on_disk_does_not_reach_a_lease(base, tmp_path):
    store = DeltaStore(tmp_path)
    pool = MotionPool(StoreSource(store), base)
    delta = toy_delta(1)
    store.publish(delta, "wave")
    with pool.lease(single(store.resolve("wave"))) as lease:
        for file in tmp_path.rglob("*.safetensors"):
            file.write_bytes(b"\0" * file.stat().st_size)
        with lease.applied():
            assert torch.equal(base.values()["a"], delta.tensors["a"])


# --- budgets --------------------------------------------------------------------------------------


def test_budgets_hold_and_the_right_values_come_every_time(base, library):
    deltas = [toy_delta(seed) for seed in range(20)]
    records = [library.add(delta) for delta in deltas]
    pool = MotionPool(library, base, budgets(device=3, host=6))
    chance = random.Random(1)
    for _ in range(300):
        number = min(int(chance.expovariate(0.2)), 19)
        with pool.lease(single(records[number]), timeout=0) as lease, lease.applied():
            assert torch.equal(base.values()["a"], deltas[number].tensors["a"])
        found = pool.statistics()
        assert found.device.used <= 3 * SIZE and found.host.used <= 6 * SIZE
    assert found.device.hits > 40 and found.host.evictions > 10
    assert found.device.hits + found.device.misses == 300
    assert len(library.loads) == found.host.loads == found.host.misses


def test_a_motion_larger_than_the_budget_is_refused(base, library):
    pool = MotionPool(library, base, budgets(device=0, host=0))
    with pytest.raises(PoolError, match=r"device tier: .* the budget is 0; raise the budget"):
        pool.lease(single(library.add(toy_delta(1))))


def test_without_a_host_tier_every_load_is_from_the_source(base, library):
    pool = MotionPool(library, base, budgets(device=1, host=0))
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    for record in (one, two, one):
        pool.lease(single(record)).release()
    assert library.loads == [one.sha256, two.sha256, one.sha256]
    assert pool.statistics().host.used == 0


def test_who_finds_no_room_waits_for_a_lease_to_end(base, library):
    pool = MotionPool(library, base, budgets(device=1))
    one, two = (single(library.add(toy_delta(seed))) for seed in (1, 2))
    lease = pool.lease(one)
    with pytest.raises(PoolBusyError, match="wait, or raise the budget"):
        pool.lease(two, timeout=0)
    with pytest.raises(PoolBusyError):
        pool.lease(two, timeout=0.05)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.lease, two, 20)
        until(lambda: library.loads.count(two.key) == 1)  # read once, whatever the outcome
        assert not waiting.done()
        lease.release()
        waiting.result(20).release()
    assert library.loads.count(two.key) == 1


def test_a_broken_motion_drives_nobody_out(base, library):
    pool = MotionPool(library, base, budgets(device=1, host=1))
    good, bad = (library.add(toy_delta(seed)) for seed in (1, 2))
    library.broken.add(bad.sha256)
    pool.lease(single(good)).release()
    with pytest.raises(DeltaError, match="is damaged"):
        pool.lease(single(bad))
    assert pool.residency() == {good.sha256: "device"}
    assert pool.place(bad) == "disk"


# --- pins and unloading ---------------------------------------------------------------------------


def test_a_pinned_motion_stays(base, library):
    # All loads take the same time, so that the last to be used stay.
    pool = MotionPool(library, base, budgets(device=2, host=2), clock=lambda: 0.0)
    records = [library.add(toy_delta(seed)) for seed in range(6)]
    pool.pin(records[0])
    pool.pin(records[1], "host")
    for record in records[2:] * 2:
        pool.lease(single(record)).release()
    assert pool.residency()[records[0].sha256] == "device"
    assert pool.residency()[records[1].sha256] == "host"
    pool.unpin(records[0])
    pool.unpin(records[1])
    for record in records[2:] * 2:
        pool.lease(single(record)).release()
    assert not {records[0].sha256, records[1].sha256} & pool.residency().keys()


def test_pins_beyond_the_budget_are_refused(base, library):
    pool = MotionPool(library, base, budgets(device=1, host=1))
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    pool.pin(one)
    with pytest.raises(PoolError, match="unpin motions"):
        pool.pin(two)
    pool.pin(one, "host")
    with pytest.raises(PoolError, match="host tier: m2@1 does not fit"):
        pool.pin(two, "host")


def test_unloading_waits_for_leases_and_takes_the_sums_along(base, library):
    pool = MotionPool(library, base)
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    both = Mix.of([(one, 0.5), (two, 0.5)])
    lease = pool.lease(both)
    pool.lease(single(one)).release()
    assert not pool.unload(one)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.unload, one, 20)
        time.sleep(0.05)
        assert not waiting.done()
        lease.release()
        assert waiting.result(20)
    assert pool.residency() == {two.sha256: "host"}


def test_a_closed_pool_lets_go_and_refuses(base, library):
    pool = MotionPool(library, base)
    mix = single(library.add(toy_delta(1)))
    lease = pool.lease(mix)
    pool.close()
    with pytest.raises(PoolError, match="is closed"):
        pool.lease(mix)
    assert not pool.prefetch(mix)
    with lease.applied():
        assert torch.equal(base.values()["a"], toy_delta(1).tensors["a"])
    lease.release()
    assert pool.statistics().host.entries == 0


# --- broken and unknown motions -------------------------------------------------------------------


def test_a_broken_motion_is_read_once_until_its_time_is_over(base, library):
    now = [0.0]
    pool = MotionPool(library, base, budgets(broken_s=5), clock=lambda: now[0])
    record = library.add(toy_delta(1))
    library.broken.add(record.sha256)
    for _ in range(5):
        with pytest.raises(DeltaError, match="m1@1: is damaged; publish it again"):
            pool.lease(single(record))
    assert len(library.loads) == 1
    assert (pool.statistics().broken, pool.statistics().refused) == (1, 4)
    library.broken.clear()
    now[0] = 5.0
    pool.lease(single(record)).release()


def test_unloading_a_mended_motion_makes_it_usable_at_once(base, library):
    pool = MotionPool(library, base)
    record = library.add(toy_delta(1))
    library.broken.add(record.sha256)
    with pytest.raises(DeltaError):
        pool.lease(single(record))
    library.broken.clear()
    pool.unload(record)
    pool.lease(single(record)).release()


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (toy_delta(1, base_fingerprint="other"), "made for base other"),
        (MotionDelta(toy_delta(1).header, {"zz": torch.ones(2)}), "tensor zz is extra"),
        (MotionDelta(toy_delta(1).header, {"a": torch.ones(2)}), r"has shape \[2\]"),
        (
            MotionDelta(toy_delta(1).header, {"token_embedding": torch.ones(2, 2)}),
            "it is one row of the text encoder",
        ),
    ],
)
def test_a_motion_that_does_not_fit_is_refused_before_anything_leaves(
    base, library, delta, message
):
    pool = MotionPool(library, base, budgets(device=1, host=1))
    good, bad = library.add(toy_delta(2)), library.add(delta)
    pool.lease(single(good)).release()
    for _ in range(2):
        with pytest.raises(DeltaError, match=message):
            pool.lease(single(bad))
    assert library.loads.count(bad.sha256) == 1
    assert pool.residency() == {good.sha256: "device"}


def test_a_flipped_bit_in_the_store_is_found_on_load(base, tmp_path):
    store = DeltaStore(tmp_path)
    store.publish(toy_delta(1), "wave")
    (file,) = tmp_path.rglob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)
    with pytest.raises(DeltaError, match="is damaged"):
        MotionPool(StoreSource(store), base).lease(single(store.resolve("wave")))


def test_an_object_that_is_another_delta_is_refused(base, tmp_path):
    store = DeltaStore(tmp_path)
    store.publish(toy_delta(1), "wave")
    record = store.resolve("wave").model_copy(update={"sha256": toy_delta(2).sha256})
    with pytest.raises(DeltaError, match=r"was loaded, .* was asked for"):
        StoreSource(store).load(record)
    with pytest.raises(StoreError):
        StoreSource(store).load(record.model_copy(update={"name": "gone"}))


# --- many threads ---------------------------------------------------------------------------------


def test_of_many_threads_one_loads(base, library):
    library.seconds = 0.1
    pool = MotionPool(library, base)
    record = library.add(toy_delta(1))
    start = threading.Barrier(16)

    def ask(_: int) -> float:
        start.wait()
        with pool.lease(single(record)) as lease:
            return float(lease.values["a"][0, 0])

    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(ask, range(16)))
    assert found == {float(toy_delta(1).tensors["a"][0, 0])}
    assert len(library.loads) == 1
    assert pool.statistics().joined >= 1 and pool.statistics().device.held == 0


def test_different_motions_load_at_the_same_time_up_to_the_limit(base, library):
    library.seconds = 0.05
    pool = MotionPool(library, base, budgets(loads=3))
    mixes = [single(library.add(toy_delta(seed))) for seed in range(9)]
    with ThreadPoolExecutor(9) as threads:
        for lease in threads.map(pool.lease, mixes):
            lease.release()
    assert library.most_at_once == 3


def test_threads_that_want_everything_at_once(base, library):
    """Leases, mixes, prefetches and unloads in a tight budget: right values, exact account."""
    deltas = [toy_delta(seed, ("abc", "cd", "ab")[seed % 3]) for seed in range(6)]
    records = [library.add(delta) for delta in deltas]
    pool = MotionPool(library, base, budgets(device=3, host=3))
    own = base.values()
    wrong: list[str] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            chosen = chance.sample(range(6), chance.choice((1, 1, 2)))
            mix = Mix.of([(records[number], chance.choice((1.0, 0.5))) for number in chosen])
            if chance.random() < 0.1:
                pool.unload(records[chosen[0]])
            if chance.random() < 0.2:
                pool.prefetch(mix, chance.choice(("host", "device")))
            with pool.lease(mix, timeout=60) as lease:
                time.sleep(0.0005)
                for name, value in lease.values.items():
                    total = own[name].clone()
                    for part in mix.parts:
                        change = library.deltas[part.record.sha256].tensors.get(name)
                        if change is not None:
                            total += part.weight * (change - own[name])
                    if not torch.allclose(value, total, atol=1e-5):
                        wrong.append(f"{mix.label}: {name}")
            if pool.statistics().device.used > 3 * SIZE:
                wrong.append("over budget")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    pool.close()
    assert not wrong
    found = pool.statistics()
    assert (found.device.held, found.device.entries, found.host.held) == (0, 0, 0)


# --- memory ---------------------------------------------------------------------------------------


def test_what_left_is_freed(base, library):
    """Nothing keeps the tensors of a motion that left: not a lease, not a flight, not an error."""
    pool = MotionPool(library, base, budgets(device=1, host=1))
    alive: list[weakref.ref] = []
    for seed in range(30):
        record = library.add(toy_delta(seed))
        with pool.lease(single(record)) as lease:
            alive += [weakref.ref(each) for each in lease.values.values()]
    pool.lease(single(record_of(toy_delta(29)))).release()
    del lease
    gc.collect()
    assert sum(each() is not None for each in alive) == 3  # the three tensors that are here


def test_a_thousand_swaps_leave_the_base_as_it_was(base, library):
    pool = MotionPool(library, base, budgets(device=2, host=2))
    mixes = [single(library.add(toy_delta(seed))) for seed in range(3)]
    before = base.state()
    for number in range(1000):
        with pool.lease(mixes[number % 3]) as lease, lease.applied():
            pass
    assert base.state() == before
