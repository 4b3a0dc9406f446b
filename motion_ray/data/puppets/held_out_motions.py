"""The motions that customization adds: in no training clip and no caption of the base model.

Several are after gestures of the Jester data set, which the paper customizes on. Shapes and units:
:mod:`motion_ray.data.puppets.pose`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from motion_ray.data.puppets.pose import Beat, Pose, rest


def swiping_down(beat: Beat) -> Pose:
    """A raised hand comes down fast, stays, and goes up again (after Jester's "Swiping Down")."""
    part = beat.phase % 1.0
    down = (part / 0.35).clamp(max=1) - ((part - 0.7) / 0.3).clamp(min=0)
    return replace(
        rest(beat), right_shoulder=2.6 - 2.3 * down * beat.amplitude, right_elbow=-0.2 + 0.2 * down
    )


def drumming(beat: Beat) -> Pose:
    """Forearms beat in turn, twice a cycle (after Jester's "Drumming Fingers")."""
    arm, stroke = beat.still + 0.7, 0.8 * torch.sin(4 * math.pi * beat.phase) * beat.amplitude
    return replace(
        rest(beat),
        left_shoulder=arm,
        right_shoulder=arm,
        left_elbow=-1.0 + stroke,
        right_elbow=-1.0 - stroke,
    )


def rolling_arms(beat: Beat) -> Pose:
    """Forearms circle around each other (after Jester's "Rolling Hand Forward")."""
    lift, turn = 0.65 * beat.cosine * beat.amplitude, 0.6 * beat.sine
    return replace(
        rest(beat),
        left_shoulder=0.85 + lift,
        right_shoulder=0.85 - lift,
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


def star_jumping(beat: Beat) -> Pose:
    """Arms over the head and legs apart while in the air, together on landing."""
    spread = beat.swell * beat.amplitude
    arm, hip = 0.2 + 2.3 * spread, 0.08 + 0.6 * spread
    return replace(
        rest(beat),
        left_shoulder=arm,
        right_shoulder=arm,
        left_hip=hip,
        right_hip=hip,
        shift_y=0.2 * beat.swell,
    )


def windmilling(beat: Beat) -> Pose:
    """Both straight arms go round in full circles, one opposite the other."""
    turn = 2 * math.pi * beat.phase * beat.direction
    return replace(
        rest(beat),
        left_shoulder=turn,
        right_shoulder=math.pi - turn,
        left_elbow=beat.still,
        right_elbow=beat.still,
    )


def gliding(beat: Beat) -> Pose:
    """Arms stretched out like the wings of a plane, banking from side to side."""
    arm, bank = beat.still + 1.55, 0.55 * beat.sine * beat.amplitude
    return replace(
        rest(beat),
        left_shoulder=arm + bank,
        right_shoulder=arm - bank,
        left_elbow=beat.still,
        right_elbow=beat.still,
        lean=-bank,
        shift_x=-0.1 * beat.sine,
    )
