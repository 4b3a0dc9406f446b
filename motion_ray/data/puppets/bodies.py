"""The kinds of puppets: a pose becomes capsules (thick lines with round ends) to draw in order.

Shapes: p puppets of one kind, f frames, k capsules. Units: half the picture's side; x to the right,
y up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_ray.data.puppets.motions import Pose

Rgb = tuple[float, float, float]

COLOURS: dict[str, Rgb] = {
    "red": (0.86, 0.16, 0.16),
    "blue": (0.16, 0.33, 0.86),
    "green": (0.15, 0.65, 0.25),
    "yellow": (0.95, 0.83, 0.15),
    "purple": (0.55, 0.2, 0.75),
    "pink": (0.98, 0.55, 0.75),
}
SKIN, DARK, GREY = (0.93, 0.76, 0.62), (0.2, 0.2, 0.28), (0.62, 0.65, 0.7)
BLACK, LAMP = (0.05, 0.05, 0.05), (0.98, 0.98, 0.3)

UPPER_ARM = FOREARM = 0.24
THIGH = SHIN = 0.27
TRUNK, NECK = 0.42, 0.2
HIP_OFFSET, PELVIS_DROP, SHOULDER_DROP = 0.09, 0.12, 0.06
DOT = 1e-3  # length of a capsule that stands for a disc


@dataclass(frozen=True)
class Capsules:
    """What to draw for p puppets, later over earlier.

    Attributes:
        shapes: ``[p, k, f, 5]``: both ends (ax, ay, bx, by) and the radius.
        colours: ``[p, k, 3]`` in 0..1.
    """

    shapes: Tensor
    colours: Tensor


class Sketch:
    """Collects capsules of p puppets in drawing order; sizes are in units of the puppets' scale.

    Args:
        scale: ``[p, 1]``.
        body: the puppets' own colour, ``[p, 3]``.
        frames: f.
    """

    def __init__(self, scale: Tensor, body: Tensor, frames: int) -> None:
        self.scale, self.body, self.frames = scale, body, frames
        self._shapes: list[Tensor] = []
        self._colours: list[Tensor] = []

    def capsule(
        self,
        start: tuple[Tensor, Tensor],
        end: tuple[Tensor, Tensor],
        radius: float,
        paint: Rgb | None,
    ) -> None:
        """Add a capsule between two points ``[p, f]``; paint None is the puppets' own colour."""
        width = (radius * self.scale).expand(-1, self.frames)
        self._shapes.append(torch.stack([*start, *end, width], -1))
        colour = self.body if paint is None else torch.tensor(paint).expand_as(self.body)
        self._colours.append(colour)

    def around(
        self,
        centre: tuple[Tensor, Tensor],
        start: tuple[float, float],
        end: tuple[float, float],
        radius: float,
        paint: Rgb | None,
    ) -> None:
        """Add a capsule whose ends are offsets from a point, in units of the puppets' scale."""
        (x, y), s = centre, self.scale
        self.capsule(
            (x + s * start[0], y + s * start[1]), (x + s * end[0], y + s * end[1]), radius, paint
        )

    def disc(
        self,
        centre: tuple[Tensor, Tensor],
        offset: tuple[float, float],
        radius: float,
        paint: Rgb | None,
    ) -> None:
        """Add a disc at an offset from a point."""
        self.around(centre, offset, (offset[0] + DOT, offset[1]), radius, paint)

    def finished(self) -> Capsules:
        """Everything added so far."""
        return Capsules(torch.stack(self._shapes, 1), torch.stack(self._colours, 1))


@dataclass(frozen=True)
class BodyPlan:
    """Proportions and paints of a kind; a paint of None is the puppet's own colour.

    Attributes:
        limb, trunk, head: radii in units of the puppet's size.
        eye: radius of an eye.
        leg_paint, head_paint, sleeve_paint, forearm_paint, eye_paint: colours.
        extras: draws what only this kind has around the head's centre.
    """

    limb: float
    trunk: float
    head: float
    eye: float
    leg_paint: Rgb | None
    head_paint: Rgb | None
    sleeve_paint: Rgb | None
    forearm_paint: Rgb | None
    eye_paint: Rgb
    extras: Callable[[Sketch, tuple[Tensor, Tensor]], None]


def _nothing(sketch: Sketch, head: tuple[Tensor, Tensor]) -> None:
    del sketch, head


def _square_head(sketch: Sketch, head: tuple[Tensor, Tensor]) -> None:
    for y in (-0.06, 0.07):
        sketch.around(head, (-0.1, y), (0.1, y), 0.1, None)


def _round_ears(sketch: Sketch, head: tuple[Tensor, Tensor]) -> None:
    for x in (-0.14, 0.14):
        sketch.disc(head, (x, 0.14), 0.07, None)


def _antennae(sketch: Sketch, head: tuple[Tensor, Tensor]) -> None:
    for x in (-0.12, 0.12):
        sketch.around(head, (0.0, 0.15), (x, 0.36), 0.025, None)


PLANS: dict[str, BodyPlan] = {
    # A person's colour is the shirt: sleeves and trunk.
    "person": BodyPlan(0.062, 0.13, 0.15, 0.03, DARK, SKIN, None, SKIN, BLACK, _nothing),
    "robot": BodyPlan(0.07, 0.17, 0.15, 0.045, GREY, None, GREY, GREY, LAMP, _square_head),
    "bear": BodyPlan(0.09, 0.2, 0.18, 0.03, None, None, None, None, BLACK, _round_ears),
    "alien": BodyPlan(0.042, 0.09, 0.2, 0.045, None, None, None, None, BLACK, _antennae),
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
    sketch = Sketch(scale, colours, pose.lean.shape[-1])
    pelvis = x + scale * pose.shift_x, y + scale * (pose.shift_y - PELVIS_DROP)
    neck = _beyond(pelvis, pose.lean, TRUNK, scale)
    head = _beyond(neck, pose.lean + pose.head, NECK, scale)
    _legs(sketch, plan, pelvis, pose)
    sketch.capsule(pelvis, neck, plan.trunk, None)
    sketch.disc(head, (0.0, 0.0), plan.head, plan.head_paint)
    plan.extras(sketch, head)
    for side in (-0.06, 0.06):
        sketch.disc(head, (side, 0.02), plan.eye, plan.eye_paint)
    _arms(sketch, plan, neck, pose)
    return sketch.finished()


def _beyond(
    start: tuple[Tensor, Tensor], angle: Tensor, length: float, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The point ``length`` away at an angle from upright."""
    return start[0] + scale * length * torch.sin(angle), start[1] + scale * length * torch.cos(
        angle
    )


def _below(
    start: tuple[Tensor, Tensor], angle: Tensor, length: float, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The point ``length`` away at an angle from hanging down."""
    return start[0] + scale * length * torch.sin(angle), start[1] - scale * length * torch.cos(
        angle
    )


def _legs(sketch: Sketch, plan: BodyPlan, pelvis: tuple[Tensor, Tensor], pose: Pose) -> None:
    scale = sketch.scale
    for side, hip, bend in (
        (-1, pose.left_hip, pose.left_knee),
        (1, pose.right_hip, pose.right_knee),
    ):
        top = pelvis[0] + scale * HIP_OFFSET * side, pelvis[1]
        knee = _below(top, side * hip, THIGH, scale)
        foot = _below(knee, side * (hip + bend), SHIN, scale)
        sketch.capsule(top, knee, plan.limb * 1.1, plan.leg_paint)
        sketch.capsule(knee, foot, plan.limb, plan.leg_paint)


def _arms(sketch: Sketch, plan: BodyPlan, neck: tuple[Tensor, Tensor], pose: Pose) -> None:
    scale, reach = sketch.scale, plan.trunk + 0.02
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
        sketch.capsule(shoulder, elbow, plan.limb, plan.sleeve_paint)
        sketch.capsule(elbow, hand, plan.limb * 0.95, plan.forearm_paint)
