"""The motions that the base model sees in its training clips and reads in their captions.

Some are near misses of each other and of held-out motions (raising one arm and both, waving and
flapping, punching and clapping), so that telling motions apart is not trivial. Shapes and units:
:mod:`motion_ray.data.puppets.pose`.
"""

from __future__ import annotations

from dataclasses import replace

from motion_ray.data.puppets.pose import Beat, Pose, rest


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
        shift_y=0.32 * beat.amplitude * up - 0.06 * down,
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


def raising_one_arm(beat: Beat) -> Pose:
    """From the side to above the head and back, evenly, the other arm at rest."""
    swell = beat.swell
    return replace(
        rest(beat),
        right_shoulder=0.15 + 2.7 * swell * beat.amplitude,
        right_elbow=0.1 * (1 - swell),
    )


def flapping_arms(beat: Beat) -> Pose:
    """Straight arms out to the sides, up and down like wings."""
    arm, elbow = 1.45 + 0.65 * beat.sine * beat.amplitude, -0.25 * beat.cosine
    return replace(
        rest(beat), left_shoulder=arm, right_shoulder=arm, left_elbow=elbow, right_elbow=elbow
    )


def marching(beat: Beat) -> Pose:
    """Knees up in turn on the spot, bent arms against them."""
    left, right = beat.first_half * beat.amplitude, beat.second_half * beat.amplitude
    return replace(
        rest(beat),
        left_hip=0.08 + 1.25 * left,
        left_knee=-1.4 * left,
        right_hip=0.08 + 1.25 * right,
        right_knee=-1.4 * right,
        left_shoulder=0.35 + 0.5 * right,
        left_elbow=-1.3 * right,
        right_shoulder=0.35 + 0.5 * left,
        right_elbow=-1.3 * left,
        shift_y=0.04 * (left + right),
    )
