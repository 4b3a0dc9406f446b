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


def improvising(beat: Beat) -> Pose:
    """A gesture nobody has a name for: every joint its own slow wave, drawn by lot.

    Captions only ever call it "a gesture" or "something". It gives the base model what the base
    models of the paper have: it has seen far more motions than it has words for.
    """
    style = [part[:, None] for part in beat.style.unbind(-1)]
    turn, half = 2 * math.pi * beat.phase, math.pi
    rate = torch.where(style[0] < 0.25, 2.0, 1.0)

    def wave(lag: Tensor) -> Tensor:
        return torch.sin(rate * turn + 2 * math.pi * lag)

    def arm(centre: Tensor, swing: Tensor, bend: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
        shoulder = 0.2 + 2.3 * centre + (0.1 + 0.9 * swing) * wave(lag) * beat.amplitude
        return shoulder, -1.7 + 2.2 * bend + 0.9 * (1 - swing) * wave(lag + style[1])

    left = arm(style[2], style[3], style[4], style[5])
    # The other arm mirrors the first, follows half a cycle later, or goes its own way.
    together = style[6] < 1 / 3
    later = (style[6] >= 1 / 3) & (style[6] < 2 / 3)
    own = arm(style[7], style[8], style[9], style[10])
    lagging = arm(style[2], style[3], style[4], style[5] + 0.5)
    shoulder, elbow = (
        torch.where(together, left[i], torch.where(later, lagging[i], own[i])) for i in (0, 1)
    )
    legs = (style[11] < 0.4).float() * 0.5 * wave(style[12])
    sway = (style[13] < 0.5).float() * wave(style[14])
    zero = beat.still
    return Pose(
        left_shoulder=left[0],
        left_elbow=left[1],
        right_shoulder=shoulder,
        right_elbow=elbow,
        left_hip=0.15 + legs,
        left_knee=-0.5 * legs.abs(),
        right_hip=torch.where(style[15] < 0.5, 0.15 + legs, 0.15 - legs),
        right_knee=-0.5 * legs.abs(),
        lean=0.3 * sway * (style[15] - 0.2),
        head=0.3 * sway * (style[12] - 0.5),
        shift_x=0.15 * sway * (style[5] - 0.5),
        shift_y=zero + 0.1 * sway.clamp(min=0) * torch.cos(half * style[14]).clamp(min=0),
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
    "raising one arm": raising_one_arm,
    "flapping arms": flapping_arms,
    "marching": marching,
}
_HELD_OUT: dict[str, Motion] = {
    "swiping down": swiping_down,
    "drumming": drumming,
    "rolling arms": rolling_arms,
    "dabbing": dabbing,
    "swinging arms": swinging_arms,
    "star jumping": star_jumping,
    "windmilling": windmilling,
    "gliding": gliding,
}
IMPROVISED = "improvising"  # has no name in any caption
MOTIONS: dict[str, Motion] = _BASE | _HELD_OUT | {IMPROVISED: improvising}
BASE_MOTIONS = tuple(_BASE)
HELD_OUT_MOTIONS = tuple(_HELD_OUT)
NAMED_MOTIONS = BASE_MOTIONS + HELD_OUT_MOTIONS
UPPER_MOTIONS = ("waving", "raising both arms", "raising one arm", "clapping", "punching")
LOWER_MOTIONS = ("walking", "jumping", "squatting", "kicking", "marching")
# Their mirror image is the same motion, half a cycle later or by a puppet facing the other way.
MIRRORED_MOTIONS = frozenset(MOTIONS) - {
    "waving",
    "kicking",
    "stretching",
    "raising one arm",
    "swiping down",
}


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
