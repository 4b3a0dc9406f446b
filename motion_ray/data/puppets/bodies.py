"""The kinds of puppets: a pose becomes capsules to draw in order.

Four kinds are built like people: two legs, a trunk, a head and two arms that end in hands. The crab
is not, and what a motion of people means for it has to be interpreted. Shapes: p puppets of one
kind, f frames. Units: half the picture's side; x to the right, y up; proportions in units of a
puppet's size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_ray.data.puppets.pose import Pose
from motion_ray.data.puppets.sketch import Capsules, Point, Rgb, Sketch

COLOURS: dict[str, Rgb] = {
    "red": (0.86, 0.16, 0.16),
    "blue": (0.16, 0.33, 0.86),
    "green": (0.15, 0.65, 0.25),
    "yellow": (0.95, 0.83, 0.15),
    "purple": (0.55, 0.2, 0.75),
    "pink": (0.98, 0.55, 0.75),
}
SKIN, DARK, GREY = (0.64, 0.43, 0.31), (0.3, 0.29, 0.4), (0.62, 0.65, 0.7)
BLACK, LAMP, CREAM = (0.05, 0.05, 0.05), (0.98, 0.98, 0.3), (1.0, 0.95, 0.82)
# Arms are a shade darker than the trunk and hands light, so that a gesture before the chest shows.
ARM_SHADE, LEG_SHADE = 0.72, 0.86

UPPER_ARM = FOREARM = 0.28
THIGH = SHIN = 0.23
TRUNK, NECK = 0.42, 0.2
PELVIS_DROP, SHOULDER_DROP = 0.12, 0.06
# By number of legs: how far from the middle each pair stands, and its share of a hip's swing. The
# second pair of four stands inside the first and swings half as far.
LEG_PAIRS = {2: ((0.09, 1.0),), 4: ((0.24, 1.0), (0.1, 0.5))}
SHELL = 0.2  # radius
# A crab has no head; the speck under its eyes is part of the pixels that the base model learned.
SPECK = 0.001

Trunk = Callable[[Sketch, Point, Point], None]  # from pelvis to neck
Extras = Callable[[Sketch, Point], None]  # around the head's centre


@dataclass(frozen=True)
class BodyPlan:
    """Proportions and paints of a kind; a paint of None is the puppet's own colour.

    Attributes:
        limb: radius of a shin; thighs are a little thicker, forearms a little thinner.
        head: radius.
        hand: radius.
        eye: radius.
        reach: from the neck to a shoulder.
        trunk: draws what is between pelvis and neck.
        extras: draws what only this kind has.
        legs: two, or four.
        size: against other kinds; wide kinds are smaller, so that their arms stay in view.
    """

    limb: float
    head: float
    hand: float
    reach: float
    eye: float
    trunk: Trunk
    extras: Extras
    legs: int = 2
    size: float = 1.0
    leg_paint: Rgb | None = None
    head_paint: Rgb | None = None
    sleeve_paint: Rgb | None = None
    forearm_paint: Rgb | None = None
    hand_paint: Rgb = CREAM
    eye_paint: Rgb = BLACK


def _nothing(sketch: Sketch, head: Point) -> None:
    del sketch, head


def _square_head(sketch: Sketch, head: Point) -> None:
    for y in (-0.06, 0.07):
        sketch.around(head, (-0.1, y), (0.1, y), 0.1, None)


def _round_ears(sketch: Sketch, head: Point) -> None:
    for x in (-0.15, 0.15):
        sketch.disc(head, (x, 0.14), 0.075, None)


def _antennae(sketch: Sketch, head: Point) -> None:
    for x in (-0.12, 0.12):
        sketch.around(head, (0.0, 0.15), (x, 0.34), 0.035, None)


def _eye_stalks(sketch: Sketch, head: Point) -> None:
    for x in (-0.1, 0.1):
        sketch.around(head, (x * 0.7, -0.2), (x, 0.0), 0.035, None)
        sketch.disc(head, (x, 0.02), 0.075, CREAM)


def _upright(radius: float) -> Trunk:
    """A trunk from pelvis to neck."""

    def draw(sketch: Sketch, pelvis: Point, neck: Point) -> None:
        sketch.capsule(pelvis, neck, radius, None)

    return draw


def _shell(sketch: Sketch, pelvis: Point, neck: Point) -> None:
    """A wide shell that lies across the way from pelvis to neck and tips with it."""
    middle = (pelvis[0] + neck[0]) / 2, (pelvis[1] + neck[1]) / 2
    half_x, half_y = (neck[1] - pelvis[1]) * 0.5, (pelvis[0] - neck[0]) * 0.5
    sketch.capsule(
        (middle[0] - half_x, middle[1] - half_y),
        (middle[0] + half_x, middle[1] + half_y),
        SHELL,
        None,
    )


PLANS: dict[str, BodyPlan] = {
    # A person's colour is the shirt: sleeves and trunk.
    "person": BodyPlan(
        limb=0.07,
        head=0.15,
        hand=0.088,
        reach=0.16,
        eye=0.03,
        leg_paint=DARK,
        head_paint=SKIN,
        forearm_paint=SKIN,
        hand_paint=SKIN,
        trunk=_upright(0.14),
        extras=_nothing,
    ),
    "robot": BodyPlan(
        limb=0.072,
        head=0.15,
        hand=0.095,
        reach=0.2,
        eye=0.048,
        leg_paint=GREY,
        sleeve_paint=GREY,
        forearm_paint=GREY,
        hand_paint=DARK,
        eye_paint=LAMP,
        trunk=_upright(0.17),
        extras=_square_head,
    ),
    "bear": BodyPlan(
        limb=0.085,
        head=0.18,
        hand=0.1,
        reach=0.22,
        eye=0.032,
        trunk=_upright(0.2),
        extras=_round_ears,
        size=0.95,
    ),
    "alien": BodyPlan(
        limb=0.055,
        head=0.2,
        hand=0.085,
        reach=0.12,
        eye=0.055,
        trunk=_upright(0.1),
        extras=_antennae,
    ),
    # No upright trunk, no head, four legs, and claws for hands.
    "crab": BodyPlan(
        limb=0.06,
        head=SPECK,
        hand=0.13,
        reach=0.33,
        eye=0.03,
        trunk=_shell,
        extras=_eye_stalks,
        legs=4,
        size=0.86,
    ),
}
KINDS = tuple(PLANS)


def build(kind: str, colours: Tensor, pose: Pose, x: Tensor, y: Tensor, scale: Tensor) -> Capsules:
    """Capsules of p puppets of one kind.

    Args:
        kind: one of :data:`KINDS`.
        colours: each puppet's own colour, ``[p, 3]`` in 0..1.
        pose: joints, ``[p, f]`` each.
        x: where the puppets stand, ``[p, 1]``.
        y: where the puppets stand, ``[p, 1]``.
        scale: their size, ``[p, 1]``.
    """
    plan = PLANS[kind]
    scale = scale * plan.size
    sketch = Sketch(scale, colours, pose.lean.shape[-1])
    pelvis = x + scale * pose.shift_x, y + scale * (pose.shift_y - PELVIS_DROP)
    neck = _beyond(pelvis, pose.lean, TRUNK, scale)
    head = _beyond(neck, pose.lean + pose.head, NECK, scale)
    _legs(sketch, plan, pelvis, pose)
    plan.trunk(sketch, pelvis, neck)
    sketch.disc(head, (0.0, 0.0), plan.head, plan.head_paint)
    plan.extras(sketch, head)
    for side in (-0.06, 0.06):
        sketch.disc(head, (side, 0.02), plan.eye, plan.eye_paint)
    _arms(sketch, plan, neck, pose)
    return sketch.finished()


def _beyond(start: Point, angle: Tensor, length: float, scale: Tensor) -> Point:
    """The point ``length`` away at an angle from upright."""
    reach = scale * length
    return start[0] + reach * torch.sin(angle), start[1] + reach * torch.cos(angle)


def _below(start: Point, angle: Tensor, length: float, scale: Tensor) -> Point:
    """The point ``length`` away at an angle from hanging down."""
    reach = scale * length
    return start[0] + reach * torch.sin(angle), start[1] - reach * torch.cos(angle)


def _legs(sketch: Sketch, plan: BodyPlan, pelvis: Point, pose: Pose) -> None:
    scale = sketch.scale
    for offset, share in LEG_PAIRS[plan.legs]:
        for side, hip, bend in (
            (-1, pose.left_hip, pose.left_knee),
            (1, pose.right_hip, pose.right_knee),
        ):
            top = pelvis[0] + scale * offset * side, pelvis[1]
            knee = _below(top, side * hip * share, THIGH, scale)
            foot = _below(knee, side * (hip + bend) * share, SHIN, scale)
            sketch.capsule(top, knee, plan.limb * 1.1, plan.leg_paint, LEG_SHADE)
            sketch.capsule(knee, foot, plan.limb, plan.leg_paint, LEG_SHADE)


def _arms(sketch: Sketch, plan: BodyPlan, neck: Point, pose: Pose) -> None:
    scale, reach = sketch.scale, plan.reach
    for side, lift, bend in (
        (-1, pose.left_shoulder, pose.left_elbow),
        (1, pose.right_shoulder, pose.right_elbow),
    ):
        shoulder = (
            neck[0] + scale * reach * side * torch.cos(pose.lean),
            neck[1] - scale * (SHOULDER_DROP + reach * side * torch.sin(pose.lean)),
        )
        elbow = _below(shoulder, side * lift, UPPER_ARM, scale)
        hand = _below(elbow, side * (lift + bend), FOREARM, scale)
        sketch.capsule(shoulder, elbow, plan.limb, plan.sleeve_paint, ARM_SHADE)
        sketch.capsule(elbow, hand, plan.limb * 0.95, plan.forearm_paint, ARM_SHADE)
        sketch.disc(hand, (0.0, 0.0), plan.hand, plan.hand_paint)
