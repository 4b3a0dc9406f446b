"""When all videos will have been looked at."""

from __future__ import annotations

from motion_ray.reproduction.outlook import Outlook
from tests.waiting import Clock


def test_the_pace_of_a_stage_is_that_of_its_own_videos() -> None:
    clock = Clock()
    outlook = Outlook(clock)
    outlook.expect(100)
    assert outlook.seconds_left is None
    assert not outlook.looked("real clips", 10, 20)  # ten were measured before
    clock.now = 5.0
    assert outlook.looked("real clips", 20, 20)
    assert (outlook.left, outlook.pace, outlook.seconds_left) == (90, 0.5, 45.0)
    clock.now = 100.0  # hours of training in between do not count
    assert not outlook.looked("what was learned", 0, 80)
    assert outlook.seconds_left == 45.0
    clock.now = 110.0
    outlook.looked("what was learned", 5, 80)
    assert (outlook.left, outlook.pace) == (85, 2.0)
    assert (outlook.stage, outlook.done, outlook.total) == ("what was learned", 5, 80)


def test_more_videos_than_expected_leave_nothing() -> None:
    outlook = Outlook(Clock())
    outlook.expect(3)
    outlook.looked("clips", 0, 8)
    outlook.looked("clips", 8, 8)
    assert outlook.left == 0
