"""Work that reports by callback: its reports, its value, its failure, and its end when closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from motion_ray.customization.relayed import relayed
from motion_ray.errors import Cancelled
from motion_ray.types import Preparing

Tell = Callable[[str, int, int], None]


def test_reports_come_as_events_and_the_value_is_returned() -> None:
    def work(tell: Tell) -> str:
        tell("encoding", 1, 2)
        return "made"

    events = relayed(work)
    assert next(events) == Preparing("encoding", 1, 2)
    with pytest.raises(StopIteration) as end:
        next(events)
    assert end.value.value == "made"


def test_a_failure_is_raised_where_the_events_are_read() -> None:
    def work(tell: Tell) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(relayed(work))


def test_work_is_over_when_its_events_are_closed() -> None:
    written, ended = [], threading.Event()

    def work(tell: Tell) -> None:
        try:
            for clip in range(1000):
                tell("encoding", clip, 1000)
                time.sleep(0.002)
                written.append(clip)
        except Cancelled:
            ended.set()
            raise

    events = relayed(work)
    next(events)
    events.close()
    assert ended.is_set()  # not some time later
    before = len(written)
    time.sleep(0.02)
    assert len(written) == before < 1000
