"""Loading ahead: near when it is wanted, held by nobody, never in the way."""

from __future__ import annotations

from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool
from tests.serving.toy import budgets, single, toy_delta
from tests.waiting import until


def test_prefetching_brings_a_motion_near_and_holds_nothing(base, library):
    pool = MotionPool(library, base)
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    assert pool.prefetch(single(one))
    assert pool.prefetch(single(two), "device")
    until(lambda: pool.place(two) == "device" and pool.place(one) == "host")
    found = pool.statistics()
    assert (found.device.held, found.host.held) == (0, 0)
    assert (found.device.misses, found.host.misses) == (0, 0)
    assert not pool.prefetch(Mix())


def test_prefetching_leaves_no_thread_behind_that_has_computed(base, library):
    """Such a thread keeps threads of OpenMP, and generations are slower as long as it lives."""
    pool = MotionPool(library, base)
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    pool.prefetch(single(one))
    pool.prefetch(single(two), "device")
    until(lambda: pool.place(two) == "device" and pool.place(one) == "host")
    assert len(library.threads) == 2
    until(lambda: not any(thread.is_alive() for thread in library.threads))


def test_prefetching_is_bounded_and_does_the_same_thing_once(base, library):
    library.seconds = 0.2
    pool = MotionPool(library, base, budgets(prefetches=2))
    one, two, three = (single(library.add(toy_delta(seed))) for seed in (1, 2, 3))
    assert [pool.prefetch(mix) for mix in (one, one, two, three)] == [True, False, True, False]
    pool.close()


def test_what_runs_next_does_not_wait_for_reads_of_what_runs_later(base, library):
    library.seconds = 0.3
    pool = MotionPool(library, base, budgets(prefetches=4))
    later = [library.add(toy_delta(seed)) for seed in range(4)]
    soon = library.add(toy_delta(9))
    assert all(pool.prefetch(single(record)) for record in later)  # as many as may wait
    assert pool.prefetch(single(soon), "device")
    until(lambda: pool.place(soon) == "device")
    assert pool.place(later[-1]) == "disk"
    pool.close()


def test_what_no_longer_runs_next_is_not_loaded(base, library):
    library.open.clear()
    pool = MotionPool(library, base)
    one, two, three = (library.add(toy_delta(seed)) for seed in (1, 2, 3))
    pool.prefetch(single(one), "device")
    until(lambda: library.loads == [one.sha256])
    for record in (two, three):
        pool.prefetch(single(record), "device")
    library.open.set()
    until(lambda: pool.place(three) == "device")
    assert pool.place(two) == "disk"  # the first was being read when the others came


def test_a_failed_prefetch_is_logged_and_the_thread_lives_on(base, library, caplog):
    caplog.set_level("INFO", logger="motion_ray.serving.pool")
    pool = MotionPool(library, base)
    bad, good = library.add(toy_delta(1)), library.add(toy_delta(2))
    library.broken.add(bad.sha256)
    pool.prefetch(single(bad))
    pool.prefetch(single(good))
    until(lambda: pool.place(good) == "host")
    assert "not prefetched: motion m1@1: is damaged" in caplog.text


def test_prefetching_does_not_wait_for_room(base, library):
    pool = MotionPool(library, base, budgets(device=1))
    one, two = (library.add(toy_delta(seed)) for seed in (1, 2))
    with pool.lease(single(one)):
        pool.prefetch(single(two), "device")
        until(lambda: pool.place(two) == "host")
        assert pool.place(one) == "device"
