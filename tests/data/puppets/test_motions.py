"""Motions: they differ from each other, loop, and mirror as they claim."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from motion_ray.data.puppets.motions import (
    LOWER_MOTIONS,
    MIRRORED_MOTIONS,
    MOTIONS,
    UPPER_MOTIONS,
    Beat,
    pose,
)

LEFT_RIGHT = ((0, 2), (1, 3), (4, 6), (5, 7))  # shoulders, elbows, hips, knees in Pose's order
SIGNED = (8, 9, 10)  # lean, head, shift_x change sign in a mirror
SHIFT_X = 10


def joints(motion: str, start: float = 0.0, direction: float = 1.0, frames: int = 24) -> Tensor:
    """One cycle, ``[12, f]``."""
    phase = (torch.arange(frames) / frames + start)[None]
    beat = Beat(phase, torch.ones(1, 1), torch.full((1, 1), direction))
    return pose(motion, beat).stacked()[:, 0]


def mirrored(motion: Tensor) -> Tensor:
    result = motion.clone()
    for left, right in LEFT_RIGHT:
        result[left], result[right] = motion[right], motion[left]
    result[list(SIGNED)] *= -1
    return result


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_finite_and_loops(motion: str) -> None:
    once, again = joints(motion), joints(motion, start=1.0)
    assert once.isfinite().all()
    assert torch.allclose(once, again, atol=1e-4)


def test_no_two_motions_are_alike() -> None:
    """Whatever the phase and the side: the joint that differs most differs by a visible angle."""
    every = {motion: joints(motion) for motion in MOTIONS}
    for one, other in itertools.combinations(MOTIONS, 2):
        turned = [
            candidate.roll(shift, -1)
            for candidate in (every[other], mirrored(every[other]))
            for shift in range(24)
        ]
        nearest = min(float((every[one] - each).abs().amax()) for each in turned)
        assert nearest > 0.15, (one, other)


@pytest.mark.parametrize("motion", MOTIONS)
def test_exactly_the_motions_said_to_be_mirrored_are(motion: str) -> None:
    image = mirrored(joints(motion))
    candidates = [joints(motion, start, side) for start in (0.0, 0.25, 0.5) for side in (1.0, -1.0)]
    # A puppet that walks both swings its limbs and travels; only the travel has a side of its own.
    same = any(torch.allclose(image, each, atol=1e-4) for each in candidates)
    if motion == "walking":
        limbs = image[:SHIFT_X]
        same = any(torch.allclose(limbs, each[:SHIFT_X], atol=1e-4) for each in candidates)
    assert same == (motion in MIRRORED_MOTIONS)


@pytest.mark.parametrize("upper", UPPER_MOTIONS)
@pytest.mark.parametrize("lower", LOWER_MOTIONS)
def test_a_composition_takes_arms_from_one_and_legs_from_the_other(upper: str, lower: str) -> None:
    beat = Beat(torch.arange(8)[None] / 8, torch.ones(1, 1), torch.ones(1, 1))
    both, arms, legs = pose(upper, beat, lower), pose(upper, beat), pose(lower, beat)
    assert torch.equal(both.left_shoulder, arms.left_shoulder)
    assert torch.equal(both.right_elbow, arms.right_elbow)
    assert torch.equal(both.left_knee, legs.left_knee)
    assert torch.equal(both.right_hip, legs.right_hip)
    assert torch.equal(both.shift_y, legs.shift_y)
