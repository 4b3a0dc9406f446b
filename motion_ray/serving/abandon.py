"""Waiting for work that cannot be interrupted, such as a read of a distant disk, until it is for
nobody any more.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from motion_ray.errors import Cancelled

LOOK_S = 0.2  # seconds between two looks whether anybody still waits

R = TypeVar("R")


def unless(given_up: Callable[[], bool], work: Callable[[], R], undo: Callable[[R], None]) -> R:
    """The result of ``work``, which runs in a thread of its own.

    Args:
        given_up: asked now and then whether the result is for nobody.
        work: goes on to its end in any case.
        undo: gets a result that came too late, in the thread that made it.

    Raises:
        Cancelled: it was given up.
        Exception: what ``work`` raised.
    """
    done: Future[R] = Future()
    act = functools.partial(_do, work, done)
    threading.Thread(target=act, name="awaited", daemon=True).start()
    while not wait([done], LOOK_S).done:
        if given_up():
            done.add_done_callback(functools.partial(_take_back, undo))
            raise Cancelled("generation", "cancelled while its motions were loaded")
    try:
        return done.result()
    finally:
        # A fault's frames would hold the future that holds the fault: a cycle, and with it what was
        # half loaded would stay until somebody collects garbage.
        del done, act


def _do(work: Callable[[], R], done: Future[R]) -> None:
    try:
        done.set_result(work())
    except BaseException as fault:
        done.set_exception(fault)
    finally:
        del done


def _take_back(undo: Callable[[R], None], late: Future[R]) -> None:
    if late.exception() is None:
        undo(late.result())
