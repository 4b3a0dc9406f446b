"""Single flight and the negative cache."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from motion_ray.errors import DeltaError, UnknownMotionError
from motion_ray.serving.flights import SingleFlight
from motion_ray.serving.negative import NegativeCache
from tests.waiting import until


def test_of_many_one_works_and_all_get_its_result():
    flights: SingleFlight[int] = SingleFlight()
    runs, start = [], threading.Barrier(16)
    all_ask = threading.Event()

    def work() -> int:
        assert all_ask.wait(20)
        runs.append(1)
        return 7

    def ask(_: int) -> tuple[int, bool]:
        start.wait()
        return flights.run("key", work)

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(ask, range(16))
        until(lambda: flights.joined == 15)
        all_ask.set()
        found = list(answers)
    assert [value for value, _ in found] == [7] * 16
    assert sum(led for _, led in found) == len(runs) == 1


def test_different_keys_do_not_wait_for_each_other():
    flights: SingleFlight[int] = SingleFlight()
    both = threading.Barrier(2, timeout=20)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda key: flights.run(key, both.wait), "ab"))


def test_a_failure_reaches_everybody_and_the_next_one_tries_again():
    flights: SingleFlight[int] = SingleFlight()
    start = threading.Barrier(4)
    waiting = threading.Event()

    def fail() -> int:
        assert waiting.wait(20)
        raise DeltaError("x", "is broken")

    def ask(_: int) -> str:
        start.wait()
        try:
            flights.run("key", fail)
        except DeltaError as fault:
            return str(fault)
        return "no error"

    with ThreadPoolExecutor(4) as pool:
        results = pool.map(ask, range(4))
        until(lambda: flights.joined == 3)
        waiting.set()
        assert list(results) == ["x: is broken"] * 4
    assert flights.run("key", lambda: 1) == (1, True)


def test_an_interrupted_leader_hands_over():
    """Ctrl-C in one thread says nothing about the motion: whoever waits loads it himself."""
    flights: SingleFlight[int] = SingleFlight()
    entered, interrupt = threading.Event(), threading.Event()

    def interrupted() -> int:
        entered.set()
        assert interrupt.wait(20)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            flights.run("key", interrupted)

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(lead)
        assert entered.wait(20)
        follower = pool.submit(flights.run, "key", lambda: 5)
        until(lambda: flights.joined == 1)
        interrupt.set()
        leader.result(20)
        assert follower.result(20) == (5, True)


# --- the negative cache ---------------------------------------------------------------------------


def test_an_error_is_remembered_until_its_time_is_over():
    now = [0.0]
    known = NegativeCache(10, lambda: now[0])
    known.check("a")
    known.add("a", UnknownMotionError("store", "has no a", "it holds: b"))
    now[0] = 9.9
    with pytest.raises(UnknownMotionError, match="store: has no a; it holds: b"):
        known.check("a")
    known.check("b")
    now[0] = 10.0
    known.check("a")
    assert (len(known), known.hits) == (0, 1)


def test_what_was_mended_can_be_forgotten():
    known = NegativeCache(10, lambda: 0.0)
    for key in "abc":
        known.add(key, DeltaError(key, "is broken"))
    known.forget("a")
    known.check("a")
    with pytest.raises(DeltaError):
        known.check("b")
    known.forget_where(lambda key: key == "b")
    known.check("b")
    with pytest.raises(DeltaError):
        known.check("c")
    known.forget()
    known.check("c")


def test_names_that_nobody_has_do_not_fill_the_memory():
    known = NegativeCache(10, lambda: 0.0, size=100)
    for number in range(1000):
        known.add(f"{number}", DeltaError(f"{number}", "is broken"))
    assert len(known) == 100
    known.check("899")
    with pytest.raises(DeltaError):
        known.check("900")


def test_a_remembered_error_keeps_no_frames():
    """Its traceback would hold the tensors of a broken delta for as long as it is known."""
    known = NegativeCache(10, lambda: 0.0)
    try:
        raise DeltaError("x", "is broken")
    except DeltaError as fault:
        known.add("x", fault)
    (_, kept), *_ = known._known.values()
    assert kept.__traceback__ is None and kept.__cause__ is None
