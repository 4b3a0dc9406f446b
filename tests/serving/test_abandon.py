"""Waiting for what cannot be interrupted: its result, its error, and that it is for nobody."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from motion_ray.errors import Cancelled, StoreError
from motion_ray.serving.abandon import unless
from tests.waiting import until


def never() -> bool:
    return False


def test_what_is_waited_for_is_given() -> None:
    undone: list[int] = []
    assert unless(never, lambda: 3, undone.append) == 3
    assert not undone


def test_what_work_raises_is_raised_here() -> None:
    def fail() -> int:
        raise StoreError("/srv/store", "cannot be read")

    with pytest.raises(StoreError, match="cannot be read"):
        unless(never, fail, print)


def test_what_comes_too_late_is_taken_back() -> None:
    go_on, undone = threading.Event(), list[int]()

    def work() -> int:
        assert go_on.wait(20)
        return 3

    with pytest.raises(Cancelled):
        unless(lambda: True, work, undone.append)
    assert not undone
    go_on.set()
    until(lambda: undone == [3])


def test_what_fails_too_late_concerns_nobody() -> None:
    go_on, ended, undone = threading.Event(), threading.Event(), list[int]()

    def work() -> int:
        assert go_on.wait(20)
        ended.set()
        raise StoreError("/srv/store", "cannot be read")

    with pytest.raises(Cancelled):
        unless(lambda: True, work, undone.append)
    go_on.set()
    assert ended.wait(20) and not undone


def test_a_fault_keeps_nothing_of_what_was_half_done() -> None:
    """No cycle: what is half loaded would stay in memory until garbage is collected."""

    class Half:
        pass

    left: list[weakref.ref[Half]] = []

    def fail() -> int:
        half = Half()
        left.append(weakref.ref(half))
        raise StoreError("/srv/store", "cannot be read")

    gc.disable()
    try:
        with pytest.raises(StoreError):
            unless(never, fail, print)
        until(lambda: left[0]() is None)
    finally:
        gc.enable()
