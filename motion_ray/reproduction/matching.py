"""Looks of several methods at the same CLIP appearance.

Appearance falls while a motion is learned, and how far is a choice of when to stop. Methods are
comparable where they keep the same, which not every pair of courses has a look for.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean

from motion_ray.reproduction.looking import Look

TOLERANCE = 0.01  # of cosine: looks that are no further apart keep the same appearance
Matched = Mapping[str, Sequence[Look]]
"""Method to one look of each motion and training seed."""


def matched(looks: Sequence[Look], methods: Sequence[str]) -> dict[str, list[Look]]:
    """Of each motion and training seed that all methods have, the looks that keep the same
    appearance within :data:`TOLERANCE`; where there are several such, those that have learned
    longest: of which the shares of their courses add up to most, then the most alike.

    Args:
        looks: of any cells.
        methods: at least one.
    """
    courses: dict[tuple[str, int], dict[str, list[Look]]] = {}
    for look in looks:
        if look.cell.method in methods:
            course = courses.setdefault((look.cell.motion, look.cell.seed), {})
            course.setdefault(look.cell.method, []).append(look)
    found: dict[str, list[Look]] = {method: [] for method in methods}
    for course in courses.values():
        if len(course) == len(methods):
            best = _last_alike([course[method] for method in methods])
            for method, look in zip(methods, best, strict=False):
                found[method].append(look)
    return found


def _last_alike(courses: Sequence[Sequence[Look]]) -> Sequence[Look]:
    """One look of each course, or none."""
    scored = [
        [(score, look) for look in course if (score := appearance(look)) is not None]
        for course in courses
    ]
    lengths = [max(look.step for look in course) for course in courses]
    kept: list[tuple[float, float, Sequence[Look]]] = []
    for chosen in itertools.product(*scored):
        scores, looks = [score for score, _ in chosen], [look for _, look in chosen]
        apart = max(scores) - min(scores)
        if apart <= TOLERANCE:
            learned = sum(look.step / end for look, end in zip(looks, lengths, strict=True))
            kept.append((learned, -apart, looks))
    return max(kept, key=lambda each: each[:2])[2] if kept else ()


def appearance(look: Look) -> float | None:
    """Mean CLIP appearance of a look; None if no video of it was scored."""
    scored = [row.scores.appearance for row in look.rows if row.scores is not None]
    known = [each for each in scored if each is not None]
    return fmean(known) if known else None
