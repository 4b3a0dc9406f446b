"""Puppets as capsules (thick lines with round ends), collected in the order they are drawn.

Shapes: p puppets of one kind, f frames, k capsules. Units: half the picture's side; x to the right,
y up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Rgb = tuple[float, float, float]
Point = tuple[Tensor, Tensor]  # x and y, [p, f] each

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
    """Collects capsules of p puppets; sizes are in units of the puppets' scale.

    Args:
        scale: ``[p, 1]``.
        body: the puppets' own colours, ``[p, 3]``.
        frames: f.
    """

    def __init__(self, scale: Tensor, body: Tensor, frames: int) -> None:
        self.scale, self.body, self.frames = scale, body, frames
        self._shapes: list[Tensor] = []
        self._colours: list[Tensor] = []

    def capsule(
        self, start: Point, end: Point, radius: float, paint: Rgb | None, shade: float = 1.0
    ) -> None:
        """Add a capsule between two points.

        Args:
            start: one end.
            end: the other.
            radius: half its thickness.
            paint: its colour; None is the puppets' own.
            shade: darkens the puppets' own colour, if that is used.
        """
        width = (radius * self.scale).expand(-1, self.frames)
        self._shapes.append(torch.stack([*start, *end, width], -1))
        own = self.body * shade
        self._colours.append(own if paint is None else torch.tensor(paint).expand_as(own))

    def around(
        self,
        centre: Point,
        start: tuple[float, float],
        end: tuple[float, float],
        radius: float,
        paint: Rgb | None,
    ) -> None:
        """Add a capsule whose ends are offsets from a point."""
        (x, y), s = centre, self.scale
        self.capsule(
            (x + s * start[0], y + s * start[1]), (x + s * end[0], y + s * end[1]), radius, paint
        )

    def disc(
        self, centre: Point, offset: tuple[float, float], radius: float, paint: Rgb | None
    ) -> None:
        """Add a disc at an offset from a point."""
        self.around(centre, offset, (offset[0] + DOT, offset[1]), radius, paint)

    def finished(self) -> Capsules:
        """Everything added so far."""
        return Capsules(torch.stack(self._shapes, 1), torch.stack(self._colours, 1))
