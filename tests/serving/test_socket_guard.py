"""Connections whose time is over are shut, and no others."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from motion_ray.serving.socket_guard import SocketGuard


@pytest.fixture
def guard() -> Iterator[SocketGuard]:
    guard = SocketGuard()
    yield guard
    guard.close()


def read(guard: SocketGuard, seconds: float) -> float:
    """Wait for one who says nothing; the seconds it took."""
    ours, theirs = socket.socketpair()
    before = time.monotonic()
    with ours, theirs:
        with pytest.raises(TimeoutError), guard.limited(ours.fileno(), seconds):
            raise ConnectionError(f"read {ours.recv(1)!r}")
        return time.monotonic() - before


def test_who_says_nothing_is_waited_for_so_long(guard: SocketGuard) -> None:
    """Each for its own time, whoever came first."""
    limits = [4.0, 0.5, 2.0, 0.5]
    with ThreadPoolExecutor(4) as threads:
        took = list(threads.map(lambda seconds: read(guard, seconds), limits))
    for limit, seconds in zip(limits, took, strict=True):
        assert limit <= seconds < limit + 1.4
    assert read(guard, 0.2) < 1.5


def test_who_is_in_time_is_left_alone(guard: SocketGuard) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with guard.limited(ours.fileno(), 1.0):
            theirs.send(b"a")
            assert ours.recv(1) == b"a"
        with pytest.raises(KeyError), guard.limited(ours.fileno(), 1.0):
            raise KeyError("of something else")
        time.sleep(1.3)
        theirs.send(b"b")
        assert ours.recv(1) == b"b"


def test_a_number_that_is_another_sockets_by_then_is_not_shut(guard: SocketGuard) -> None:
    """A library may close a connection of its own accord, and the system gives the number again."""
    first, other = socket.socketpair()
    with other, guard.limited(first.fileno(), 0.2):
        number = first.detach()
        os.close(number)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert number in (ours.fileno(), theirs.fileno())
            time.sleep(0.5)
            theirs.send(b"a")
            assert ours.recv(1) == b"a"


def test_closed_it_shuts_what_is_in_use() -> None:
    guard = SocketGuard()
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read, guard, 600)
        while not guard._uses:
            time.sleep(0.01)
        guard.close()
        assert reading.result(20) < 20


def test_a_system_without_threads_is_told_and_forgotten(guard: SocketGuard, monkeypatch) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ours, theirs = socket.socketpair()
    with ours, theirs, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        with pytest.raises(OSError, match="no thread is left"), guard.limited(ours.fileno(), 9):
            pass
    assert read(guard, 0.2) < 1.5 and not guard._uses


def test_no_descriptor_is_kept(guard: SocketGuard) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            with guard.limited(ours.fileno(), 10):
                pass
        assert len(os.listdir("/proc/self/fd")) <= before + 1
