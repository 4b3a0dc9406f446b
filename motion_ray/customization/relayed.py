"""Work that reports its progress by callback, as a part of a generator of events."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from motion_ray.errors import Cancelled
from motion_ray.types import Preparing, TrainEvent

T = TypeVar("T")


def relayed(
    work: Callable[[Callable[[str, int, int], None]], T],
) -> Generator[TrainEvent, None, T]:
    """Run work that reports progress by callback, and yield that progress as events as it happens.

    A callback cannot yield, so the work runs in a thread and its reports come through a queue. Its
    value is the generator's return value; its exception is raised here. When the generator is
    closed, the work ends at its next report, and only then is it closed: nobody writes into a
    folder that was let go.
    """
    reports: queue.SimpleQueue[Preparing | None] = queue.SimpleQueue()
    outcome: list[T] = []
    failure: list[BaseException] = []
    closed = threading.Event()

    def tell(stage: str, done: int, total: int) -> None:
        if closed.is_set():
            raise Cancelled(stage, f"cancelled after {done} of {total}")
        reports.put(Preparing(stage, done, total))

    def run() -> None:
        try:
            outcome.append(work(tell))
        except BaseException as error:
            failure.append(error)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="motion-ray-work", daemon=True)
    thread.start()
    try:
        while (report := reports.get()) is not None:
            yield report
    finally:
        closed.set()
        thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
