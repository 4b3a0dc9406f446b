"""Shares and their intervals."""

from __future__ import annotations

import json
import math

import pytest

from motion_ray.evaluation.statistics import Share, share_of


def test_a_share_counts() -> None:
    share = share_of([True, False, True, True])
    assert (share.right, share.of, share.rate) == (3, 4, 0.75)


def test_the_interval_is_wilsons() -> None:
    """By hand: centre (p + z^2/2n) / (1 + z^2/n), half width z/(1 + z^2/n) sqrt(p q/n + z^2/4n^2).

    Also a published figure: 70.6 % of 300 videos is 65.2 to 75.5.
    """
    z, n, p = 1.959964, 50, 0.9
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert Share(45, 50).interval() == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert Share(212, 300).interval() == pytest.approx((0.652, 0.755), abs=1e-3)


def test_the_interval_stays_inside_at_the_ends() -> None:
    assert Share(0, 20).interval()[0] == 0.0 < Share(0, 20).interval()[1] < 0.2
    assert Share(20, 20).interval()[1] == 1.0


def test_nothing_has_no_rate_and_is_still_json() -> None:
    nothing = share_of([])
    assert math.isnan(nothing.rate) and nothing.interval() == (0.0, 1.0)
    assert json.loads(json.dumps(nothing.to_dict(), allow_nan=False))["rate"] is None
    assert str(nothing) == "nothing was looked at"
    assert str(Share(3, 4)).startswith("75.0% (")
