"""The motions of the puppet world: joint angles as functions of time, in a registry.

A motion maps a :class:`Beat` (when, how strongly, facing where) to a :class:`Pose`. It knows no
bodies, so every kind of puppet can do every motion: that is what makes "a held-out motion by an
unseen character" a question with an answer.

Shapes: p puppets, f frames. Angles in radians, displacements in units of a puppet's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Beat:
    """When and how the puppets move.

    Attributes:
        phase: cycles since the start of the motion, ``[p, f]``; 1 is one full cycle.
        amplitude: strength of the motion, about 1, ``[p, 1]``.
        direction: -1 or 1, the side a puppet walks or bows to, ``[p, 1]``.
    """

    phase: Tensor
    amplitude: Tensor
    direction: Tensor

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


def standing_still(beat: Beat) -> Pose:
    """Breathing only."""
    return replace(rest(beat), shift_y=0.01 * beat.sine)


def waving(beat: Beat) -> Pose:
    """One arm up, the forearm to and fro."""
    return replace(
        rest(beat),
        right_shoulder=beat.still + 2.0 * beat.amplitude,
        right_elbow=0.5 + 0.6 * beat.sine,
    )


def walking(beat: Beat) -> Pose:
    """Legs and arms in opposite swing, moving to one side."""
    swing, way = beat.sine, beat.phase - beat.phase.mean(-1, keepdim=True)
    return replace(
        rest(beat),
        left_hip=0.08 + 0.5 * swing * beat.amplitude,
        right_hip=0.08 - 0.5 * swing * beat.amplitude,
        left_knee=0.5 * beat.second_half,
        right_knee=0.5 * beat.first_half,
        left_shoulder=0.15 - 0.45 * swing,
        right_shoulder=0.15 + 0.45 * swing,
        shift_x=0.35 * beat.direction * way,
    )


def jumping(beat: Beat) -> Pose:
    """Up in the first half of the cycle, knees bent in the second."""
    up, down = beat.first_half, beat.second_half
    hip, knee, arm = 0.1 + 0.3 * down, -0.6 * down, 0.3 + 0.8 * up
    return replace(
        rest(beat),
        shift_y=0.38 * beat.amplitude * up - 0.06 * down,
        left_hip=hip,
        right_hip=hip,
        left_knee=knee,
        right_knee=knee,
        left_shoulder=arm,
        right_shoulder=arm,
    )


def squatting(beat: Beat) -> Pose:
    """Down on bent knees, arms lifted for balance."""
    depth = beat.swell * beat.amplitude
    hip, knee, arm = 0.08 + depth, -1.7 * depth, 0.15 + 1.2 * beat.swell
    return replace(
        rest(beat),
        left_hip=hip,
        right_hip=hip,
        left_knee=knee,
        right_knee=knee,
        shift_y=-0.25 * depth,
        left_shoulder=arm,
        right_shoulder=arm,
    )


def raising_both_arms(beat: Beat) -> Pose:
    """From the sides to above the head and back."""
    arm, elbow = 0.15 + 2.7 * beat.swell * beat.amplitude, 0.1 * (1 - beat.swell)
    return replace(
        rest(beat), left_shoulder=arm, right_shoulder=arm, left_elbow=elbow, right_elbow=elbow
    )


def clapping(beat: Beat) -> Pose:
    """Forearms meet before the chest."""
    arm, elbow = beat.still + 0.7, -1.2 - 0.75 * beat.swell * beat.amplitude
    return replace(
        rest(beat), left_shoulder=arm, right_shoulder=arm, left_elbow=elbow, right_elbow=elbow
    )


def kicking(beat: Beat) -> Pose:
    """One leg out to the side, the trunk leaning away."""
    swell = beat.swell
    return replace(
        rest(beat),
        right_hip=0.08 + 1.3 * swell * beat.amplitude,
        right_knee=-0.4 * (1 - swell) * swell,
        left_shoulder=0.15 + 0.6 * swell,
        lean=-0.15 * swell,
    )


def bowing(beat: Beat) -> Pose:
    """The trunk tips to one side, the head further."""
    tip = beat.swell * beat.direction
    return replace(rest(beat), lean=0.9 * tip * beat.amplitude, head=0.4 * tip)


def punching(beat: Beat) -> Pose:
    """Left and right fists in turn."""
    right, left = beat.first_half, beat.second_half
    return replace(
        rest(beat),
        right_shoulder=0.6 + 0.95 * right * beat.amplitude,
        right_elbow=-1.8 + 1.8 * right,
        left_shoulder=0.6 + 0.95 * left * beat.amplitude,
        left_elbow=-1.8 + 1.8 * left,
    )


def dancing(beat: Beat) -> Pose:
    """The whole body sways, arms in opposite waves."""
    sway, roll = beat.sine, beat.cosine
    return replace(
        rest(beat),
        left_shoulder=1.2 + 0.8 * sway,
        right_shoulder=1.2 - 0.8 * sway,
        left_elbow=0.8 * roll,
        right_elbow=-0.8 * roll,
        shift_x=0.12 * sway,
        left_hip=0.1 + 0.25 * beat.swell,
        right_hip=0.1 + 0.25 * (1 - beat.swell),
        lean=0.15 * sway,
    )


def stretching(beat: Beat) -> Pose:
    """One arm overhead, the other on the hip, bending sideways."""
    return replace(
        rest(beat),
        left_shoulder=beat.still + 2.9,
        left_elbow=beat.still + 0.3,
        right_shoulder=beat.still + 0.5,
        right_elbow=beat.still - 1.4,
        lean=0.45 * beat.swell * beat.amplitude,
    )


def swiping_down(beat: Beat) -> Pose:
    """A raised hand comes down fast, stays, and goes up again (after Jester's "Swiping Down")."""
    part = beat.phase % 1.0
    down = (part / 0.35).clamp(max=1) - ((part - 0.7) / 0.3).clamp(min=0)
    return replace(
        rest(beat), right_shoulder=2.6 - 2.3 * down * beat.amplitude, right_elbow=-0.2 + 0.2 * down
    )


def drumming(beat: Beat) -> Pose:
    """Forearms beat in turn, twice a cycle (after Jester's "Drumming Fingers")."""
    arm, stroke = beat.still + 0.55, 0.6 * torch.sin(4 * math.pi * beat.phase) * beat.amplitude
    return replace(
        rest(beat),
        left_shoulder=arm,
        right_shoulder=arm,
        left_elbow=-1.0 + stroke,
        right_elbow=-1.0 - stroke,
    )


def rolling_arms(beat: Beat) -> Pose:
    """Forearms circle around each other (after Jester's "Rolling Hand Forward")."""
    lift, turn = 0.45 * beat.cosine * beat.amplitude, 0.5 * beat.sine
    return replace(
        rest(beat),
        left_shoulder=0.75 + lift,
        right_shoulder=0.75 - lift,
        left_elbow=-1.7 + turn,
        right_elbow=-1.7 - turn,
    )


def dabbing(beat: Beat) -> Pose:
    """One arm out high, the face into the other elbow; the sides change in the middle."""
    left = torch.sigmoid(8 * beat.sine)
    right = 1 - left
    return replace(
        rest(beat),
        left_shoulder=2.2 * left + right,
        left_elbow=0.05 * left - 2.2 * right,
        right_shoulder=2.2 * right + left,
        right_elbow=0.05 * right - 2.2 * left,
        head=0.5 * (right - left),
        lean=-0.18 * (right - left),
    )


def swinging_arms(beat: Beat) -> Pose:
    """Both bent arms swing across while the hips go the other way."""
    swing, arc = beat.sine, beat.sine * beat.amplitude
    return replace(
        rest(beat),
        left_shoulder=0.5 + arc,
        right_shoulder=0.5 - arc,
        left_elbow=-0.9 + 0.6 * swing,
        right_elbow=-0.9 - 0.6 * swing,
        shift_x=0.14 * swing,
        shift_y=-0.06 * swing * swing,
        left_hip=0.2 + 0.3 * swing,
        right_hip=0.2 - 0.3 * swing,
        lean=-0.25 * swing,
    )


Motion = Callable[[Beat], Pose]

_BASE: dict[str, Motion] = {
    "standing still": standing_still,
    "waving": waving,
    "walking": walking,
    "jumping": jumping,
    "squatting": squatting,
    "raising both arms": raising_both_arms,
    "clapping": clapping,
    "kicking": kicking,
    "bowing": bowing,
    "punching": punching,
    "dancing": dancing,
    "stretching": stretching,
}
_HELD_OUT: dict[str, Motion] = {
    "swiping down": swiping_down,
    "drumming": drumming,
    "rolling arms": rolling_arms,
    "dabbing": dabbing,
    "swinging arms": swinging_arms,
}
MOTIONS: dict[str, Motion] = _BASE | _HELD_OUT
BASE_MOTIONS = tuple(_BASE)
HELD_OUT_MOTIONS = tuple(_HELD_OUT)
UPPER_MOTIONS = ("waving", "raising both arms", "clapping", "punching")
LOWER_MOTIONS = ("walking", "jumping", "squatting", "kicking")
# Their mirror image is the same motion, half a cycle later or by a puppet facing the other way.
MIRRORED_MOTIONS = frozenset(MOTIONS) - {"waving", "kicking", "stretching", "swiping down"}


def pose(motion: str, beat: Beat, also: str | None = None) -> Pose:
    """The pose of a motion, with the legs and the travel of a second one if ``also`` is given."""
    upper = MOTIONS[motion](beat)
    if also is None:
        return upper
    lower = MOTIONS[also](beat)
    return replace(
        upper,
        left_hip=lower.left_hip,
        left_knee=lower.left_knee,
        right_hip=lower.right_hip,
        right_knee=lower.right_knee,
        shift_x=lower.shift_x,
        shift_y=lower.shift_y,
    )
