"""When a puppet moves and where its joints are: what a motion takes and what it gives.

Shapes: p puppets, f frames. Angles in radians, displacements in units of a puppet's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

STYLES = 16  # random numbers that an improvised motion is made of


@dataclass(frozen=True)
class Beat:
    """When and how the puppets move.

    Attributes:
        phase: cycles since the start of the motion, ``[p, f]``; 1 is one full cycle.
        amplitude: strength of the motion, about 1, ``[p, 1]``.
        direction: -1 or 1, the side a puppet walks or bows to, ``[p, 1]``.
        style: uniform numbers in 0..1 that only improvised motions read, ``[p, STYLES]``.
    """

    phase: Tensor
    amplitude: Tensor
    direction: Tensor
    style: Tensor

    @property
    def sine(self) -> Tensor:
        """Of the phase angle, ``[p, f]``."""
        return torch.sin(2 * math.pi * self.phase)

    @property
    def cosine(self) -> Tensor:
        """Of the phase angle, ``[p, f]``."""
        return torch.cos(2 * math.pi * self.phase)

    @property
    def swell(self) -> Tensor:
        """From 0 up to 1 and back once a cycle, ``[p, f]``."""
        return 0.5 - 0.5 * self.cosine

    @property
    def first_half(self) -> Tensor:
        """The sine's positive half-wave, ``[p, f]``."""
        return self.sine.clamp(min=0)

    @property
    def second_half(self) -> Tensor:
        """The sine's negative half-wave, turned up, ``[p, f]``."""
        return (-self.sine).clamp(min=0)

    @property
    def still(self) -> Tensor:
        """Zeros, ``[p, f]``."""
        return torch.zeros_like(self.phase)


@dataclass(frozen=True)
class Pose:
    """Where the joints are, each ``[p, f]``.

    Arms and legs open outwards with positive angles, 0 hangs down; an elbow or knee adds to its
    upper limb. Left and right are sides of the picture.
    """

    left_shoulder: Tensor
    left_elbow: Tensor
    right_shoulder: Tensor
    right_elbow: Tensor
    left_hip: Tensor
    left_knee: Tensor
    right_hip: Tensor
    right_knee: Tensor
    lean: Tensor
    head: Tensor
    shift_x: Tensor
    shift_y: Tensor

    def stacked(self) -> Tensor:
        """All joints in the order of the fields, ``[12, p, f]``."""
        return torch.stack([getattr(self, joint.name) for joint in fields(self)])


def rest(beat: Beat) -> Pose:
    """Standing, arms slightly out; motions change what they move."""
    zero = beat.still
    arm, elbow, hip = zero + 0.15, zero + 0.1, zero + 0.08
    return Pose(arm, elbow, arm, elbow, hip, zero, hip, zero, zero, zero, zero, zero)


Motion = Callable[[Beat], Pose]
