"""What counts as idle, and how long a trial takes to its first step."""

from __future__ import annotations

import pytest

from motion_ray.cluster.slot_times import SlotTimes, Start
from tests.waiting import Clock


def test_everything_but_a_trials_own_work_is_idle() -> None:
    clock = Clock()
    times = SlotTimes(2, clock)
    clock.now = 10.0
    times.up("a")
    times.take("a")
    clock.now = 12.0
    times.work("a")
    times.work("a")  # a resumed run says so again
    clock.now = 30.0
    assert times.idle_share() == pytest.approx(1 - 18 / 60)
    times.free("a")
    clock.now = 40.0
    assert times.idle_share() == pytest.approx(1 - 18 / 80)


def test_the_first_step_of_each_trial_is_timed_from_the_slots_being_free() -> None:
    clock = Clock()
    times = SlotTimes(1, clock)
    times.up("a")
    for free, take, first in ((0.0, 5.0, 9.0), (20.0, 20.5, 21.5)):
        if free:
            clock.now = free
            times.free("a")
        clock.now = take
        times.take("a")
        clock.now = first
        times.step("a")
        clock.now = first + 1
        times.step("a")
    assert times.starts == [Start(5.0, 4.0, True), Start(0.5, 1.0, False)]


def test_a_trial_lost_before_its_first_step_is_no_start() -> None:
    clock = Clock()
    times = SlotTimes(1, clock)
    times.up("a")
    times.take("a")
    times.free("a")
    times.step("a")
    assert times.starts == []
