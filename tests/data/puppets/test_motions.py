"""Motions: they differ from each other, loop, and mirror as they claim; gestures are endless."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from motion_ray.data.puppets.motions import (
    BASE_MOTIONS,
    HELD_OUT_MOTIONS,
    IMPROVISED,
    LOWER_MOTIONS,
    MIRRORED_MOTIONS,
    MOTIONS,
    NAMED_MOTIONS,
    STYLES,
    UPPER_MOTIONS,
    Beat,
    pose,
)

LEFT_RIGHT = ((0, 2), (1, 3), (4, 6), (5, 7))  # shoulders, elbows, hips, knees in Pose's order
SIGNED = (8, 9, 10)  # lean, head, shift_x change sign in a mirror
ANGLES, SHIFT_X = 10, 10  # the first ten joints are angles; shifts follow
FRAMES = 24
# Mean distance over a cycle, all joints together, below which two motions look the same. A motion
# at its weakest is up to 0.31 from itself at the usual strength (star jumping); the nearest two are
# swiping down and a weak raising of one arm, 0.36: they differ in timing only.
SAME = 0.35


def styles(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, STYLES, generator=torch.Generator().manual_seed(seed))


def beat(
    start: float = 0.0,
    direction: float = 1.0,
    frames: int = FRAMES,
    style: Tensor | None = None,
    amplitude: float = 1.0,
) -> Beat:
    """One cycle of as many puppets as there are styles."""
    style = torch.full((1, STYLES), 0.5) if style is None else style
    one = torch.ones(len(style), 1)
    phase = (torch.arange(frames) / frames + start).expand(len(style), -1)
    return Beat(phase, amplitude * one, direction * one, style)


def joints(motion: str, start: float = 0.0, direction: float = 1.0) -> Tensor:
    """One cycle of one puppet, ``[12, f]``."""
    return pose(motion, beat(start, direction)).stacked()[:, 0]


def gestures(count: int, seed: int = 0, start: float = 0.0, direction: float = 1.0) -> Tensor:
    """One cycle of improvised gestures, ``[count, 12, f]``."""
    when = beat(start, direction, style=styles(count, seed))
    return pose(IMPROVISED, when).stacked().transpose(0, 1)


def mirrored(motion: Tensor) -> Tensor:
    result = motion.clone()
    for left, right in LEFT_RIGHT:
        result[left], result[right] = motion[right], motion[left]
    result[list(SIGNED)] *= -1
    return result


def places(motion: Tensor) -> Tensor:
    """Joints ``[..., 12, f]`` as numbers that a full turn leaves alone, ``[..., 22, f]``."""
    angles, shifts = motion[..., :ANGLES, :], motion[..., ANGLES:, :]
    return torch.cat([angles.sin(), angles.cos(), shifts], -2)


def alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(places(one), places(other), atol=1e-4)


def distance(motions: Tensor, other: Tensor) -> Tensor:
    """Of motions ``[n, 12, f]`` from one, whatever its phase and side, ``[n]``."""
    nearest = torch.full((len(motions),), torch.inf)
    here = places(motions)
    for image in (other, mirrored(other)):
        for shift in range(0, FRAMES, 2):
            there = places(image.roll(shift, -1))
            nearest = nearest.minimum((here - there).square().sum(-2).mean(-1).sqrt())
    return nearest


# --- named motions --------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_finite_and_loops(motion: str) -> None:
    once, again = joints(motion), joints(motion, start=1.0)
    assert once.isfinite().all()
    assert alike(once, again) and torch.allclose(once[ANGLES:], again[ANGLES:], atol=1e-4)


def test_no_two_motions_are_alike() -> None:
    """Whatever the phase and the side: the joint that differs most differs by a visible angle."""
    every = {motion: places(joints(motion)) for motion in NAMED_MOTIONS}
    images = {motion: places(mirrored(joints(motion))) for motion in NAMED_MOTIONS}
    for one, other in itertools.combinations(NAMED_MOTIONS, 2):
        turned = [
            candidate.roll(shift, -1)
            for candidate in (every[other], images[other])
            for shift in range(FRAMES)
        ]
        nearest = min(float((every[one] - each).abs().amax()) for each in turned)
        assert nearest > 0.15, (one, other)


@pytest.mark.parametrize("motion", HELD_OUT_MOTIONS)
def test_a_held_out_motion_is_no_base_motion_done_strongly_or_weakly(motion: str) -> None:
    new = joints(motion)
    for base in BASE_MOTIONS:
        for amplitude in (0.85, 1.0, 1.1):
            known = pose(base, beat(amplitude=amplitude)).stacked()[:, 0]
            assert float(distance(new[None], known)) > SAME, (base, amplitude)


@pytest.mark.parametrize("motion", NAMED_MOTIONS)
def test_exactly_the_motions_said_to_be_mirrored_are(motion: str) -> None:
    image = mirrored(joints(motion))
    candidates = [joints(motion, start, side) for start in (0.0, 0.25, 0.5) for side in (1.0, -1.0)]
    # A puppet that walks both swings its limbs and travels; only the travel has a side of its own.
    if motion == "walking":
        image[SHIFT_X] = 0
        for each in candidates:
            each[SHIFT_X] = 0
    assert any(alike(image, each) for each in candidates) == (motion in MIRRORED_MOTIONS)


@pytest.mark.parametrize("motion", NAMED_MOTIONS)
def test_a_named_motion_has_no_style(motion: str) -> None:
    one, other = (pose(motion, beat(style=styles(1, seed))).stacked() for seed in (1, 2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("upper", UPPER_MOTIONS)
@pytest.mark.parametrize("lower", LOWER_MOTIONS)
def test_a_composition_takes_arms_from_one_and_legs_from_the_other(upper: str, lower: str) -> None:
    when = beat(frames=8)
    both, arms, legs = pose(upper, when, lower), pose(upper, when), pose(lower, when)
    assert torch.equal(both.left_shoulder, arms.left_shoulder)
    assert torch.equal(both.right_elbow, arms.right_elbow)
    assert torch.equal(both.left_knee, legs.left_knee)
    assert torch.equal(both.right_hip, legs.right_hip)
    assert torch.equal(both.shift_y, legs.shift_y)


# --- improvised gestures --------------------------------------------------------------------------


def test_improvised_gestures_loop_and_stay_in_reach() -> None:
    once, again = gestures(500), gestures(500, start=1.0)
    assert once.isfinite().all() and torch.allclose(once, again, atol=1e-4)
    lean_and_head, shifts = once[:, 8:10], once[:, 10:]
    assert lean_and_head.abs().max() < 0.5 and shifts.abs().max() < 0.15


def test_equal_styles_give_equal_gestures_whoever_stands_beside() -> None:
    many = gestures(40)
    style = styles(40)[7:8]
    alone = pose(IMPROVISED, beat(style=style)).stacked()[:, 0]
    assert torch.allclose(alone, many[7], atol=1e-6)
    assert torch.equal(gestures(40), many) and not torch.equal(gestures(40, seed=1), many)


def test_every_gesture_moves_and_hardly_two_are_alike() -> None:
    some = gestures(60)
    travelled = places(some).diff(dim=-1).abs().sum((-2, -1))
    assert travelled.min() > 1.0
    near = sum(
        int((distance(some[number + 1 :], some[number]) < SAME).sum()) for number in range(59)
    )
    assert near <= 2  # of 1770 pairs


def test_some_gestures_use_both_arms_alike_some_half_a_cycle_apart_some_freely() -> None:
    arms = gestures(600)
    left, right = arms[:, 0:2], arms[:, 2:4]
    late = left.roll(FRAMES // 2, -1)
    together = (left - right).abs().amax((1, 2)) < 1e-4
    apart = (late - right).abs().amax((1, 2)) < 1e-4
    twice_as_fast = together & apart  # half of a cycle is then a whole one
    free = ~together & ~apart
    for share in (together, apart, free):
        assert 0.2 < share.float().mean() < 0.5
    assert twice_as_fast.any()


def test_some_gestures_use_legs_and_some_sway() -> None:
    every = gestures(600)
    steps = every[:, 4].amax(-1) - every[:, 4].amin(-1) > 1e-3
    sways = every[:, 8:].abs().amax((1, 2)) > 1e-3
    assert steps.float().mean() == pytest.approx(0.4, abs=0.07)
    assert sways.float().mean() == pytest.approx(0.5, abs=0.07)


def test_hardly_any_gesture_is_a_held_out_motion_by_accident() -> None:
    """Otherwise "in no training clip" would be untrue; a few in thousands are a near miss."""
    every = gestures(8000)
    for motion in HELD_OUT_MOTIONS:
        images = [joints(motion, direction=side) for side in (1.0, -1.0)]
        near = torch.stack([distance(every, image) for image in images]).amin(0)
        assert (near < SAME).sum() <= 8, motion  # one in a thousand
