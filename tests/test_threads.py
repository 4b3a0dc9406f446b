"""Work in a thread that ends with it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from motion_ray.threads import apart, apart_from_loop


def fail() -> None:
    raise ValueError("no")


def test_the_thread_is_another_one_and_is_gone_afterwards() -> None:
    before = set(threading.enumerate())
    assert apart(threading.current_thread) not in before
    assert set(threading.enumerate()) == before
    with pytest.raises(ValueError, match="no"):
        apart(fail)


def test_the_event_loop_goes_on() -> None:
    going_on = threading.Event()

    async def both() -> threading.Thread:
        def work() -> threading.Thread:
            assert going_on.wait(10)
            return threading.current_thread()

        waiting = asyncio.create_task(apart_from_loop(work))
        await asyncio.sleep(0)
        going_on.set()
        return await waiting

    thread = asyncio.run(both())
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="no"):
        asyncio.run(apart_from_loop(fail))
