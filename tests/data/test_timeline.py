"""Which frames a window at a stated rate consists of."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_ray.data.timeline import constant_timeline, measured_timeline

RATES = st.sampled_from([5, 8, 10, 12, 15, 24, 25, 30, 50, 60])


@given(count=st.integers(1, 300), native=RATES, fps=RATES, frames=st.integers(1, 64))
def test_a_constant_rate_is_sampled_by_rounding_in_the_middle(count, native, fps, frames):
    # exact arithmetic as the reference: round(k * native / fps), halves upward, while it is a frame
    every = []
    while (i := math.floor(Fraction(len(every) * native, fps) + Fraction(1, 2))) < count:
        every.append(i)
    first = max(0, (len(every) - frames) // 2)
    line = constant_timeline(count, float(native))
    assert line.available(float(fps)) == len(every)
    assert line.window(frames, float(fps)) == every[first : first + frames]


def test_native_rate_takes_the_middle_frames_as_they_are():
    assert constant_timeline(10, 29.97).window(4, None) == [3, 4, 5, 6]
    assert constant_timeline(3, 12).window(4, None) == [0, 1, 2]


def test_halves_go_up_so_that_gaps_alternate():
    assert constant_timeline(9, 12).window(6, 8) == [0, 2, 3, 5, 6, 8]


def test_a_rate_above_the_native_one_repeats_frames():
    assert constant_timeline(4, 4).window(8, 8) == [0, 1, 1, 2, 2, 3, 3]


def test_held_frames_are_sampled_by_what_is_on_screen():
    # shown for 0.1, 0.1, 0.6 and 0.2 s
    line = measured_timeline([0.0, 0.1, 0.2, 0.8], 0.2, stated_fps=4.0)
    assert not line.constant and line.seconds == pytest.approx(1.0)
    assert line.window(10, 10.0) == [0, 1, 2, 2, 2, 2, 2, 2, 3, 3]
    assert line.window(4, 10.0) == [2, 2, 2, 2]


def test_millisecond_clocks_are_put_back_on_their_grid():
    starts = [round(1000 * i / 30) / 1000 for i in range(30)]
    line = measured_timeline(starts, 0.033, stated_fps=30.0)
    assert line == constant_timeline(30, 30.0)


def test_times_need_no_order_or_origin():
    starts = [7.5, 7.25, 7.0, 7.75]
    assert measured_timeline(starts, 0.25, 4.0) == constant_timeline(4, 4.0)


def test_a_nonsense_rate_in_the_header_is_measured_instead():
    line = measured_timeline([i / 25 for i in range(50)], 0.04, stated_fps=1000.0)
    assert line.fps == pytest.approx(25) and line.seconds == pytest.approx(2.0)


def test_a_single_frame_lasts_as_long_as_the_container_says():
    assert measured_timeline([3.0], 0.5, None).seconds == 0.5
    assert measured_timeline([3.0], 0.0, 8.0).seconds == 0.125
