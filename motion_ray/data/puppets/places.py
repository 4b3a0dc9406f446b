"""The places of the puppet world: still backgrounds, drawn by formula.

Shapes: s picture side. Units: half the picture's side; x to the right, y up. Pictures are
``[s, s, 3]`` in 0..1.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_ray.data.puppets.sketch import Rgb

# Returns the mask [s, s] of the decoration; ground is painted over it.
Decoration = Callable[[Tensor, Tensor, float, random.Random], Tensor]


@dataclass(frozen=True)
class Place:
    """Sky and ground that meet at a horizon, and something between them."""

    sky: Rgb
    ground: Rgb
    horizon: float
    decoration: Decoration
    paint: Rgb


def pixel_grid(size: int) -> tuple[Tensor, Tensor]:
    """Coordinates of pixel centres: x ``[1, s]`` and y ``[s, 1]``, from -1 to 1, y up."""
    centres = (torch.arange(size) + 0.5) / size * 2 - 1
    return centres[None, :], -centres[:, None]


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _nothing(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    del horizon, rng
    return torch.zeros_like(x * y, dtype=torch.bool)


def _sea(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    del rng
    return (y < horizon + 0.18).expand(-1, x.shape[1])


def _trees(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    at = _column([tree + rng.uniform(-0.08, 0.08) for tree in (-0.8, -0.45, 0.5, 0.85)])
    return (y < horizon + 0.75 - 2.6 * (x - at).abs()).any(0)


def _houses(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    at = _column([-0.8, -0.45, 0.45, 0.82])
    height = _column([usual + rng.uniform(-0.1, 0.1) for usual in (0.7, 0.95, 0.8, 0.6)])
    return (((x - at).abs() < 0.15) & (y < horizon + height)).any(0)


def _dunes(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    return y < horizon + 0.15 + 0.12 * torch.sin(4 * x + rng.uniform(0, 6))


def _stars(x: Tensor, y: Tensor, horizon: float, rng: random.Random) -> Tensor:
    del horizon
    points = [(rng.uniform(-1, 1), rng.uniform(-0.1, 1)) for _ in range(14)]
    at_x, at_y = _column([point[0] for point in points]), _column([point[1] for point in points])
    return ((x - at_x) ** 2 + (y - at_y) ** 2 < 0.0009).any(0)


PLACES: dict[str, Place] = {
    "on the beach": Place((0.55, 0.8, 0.98), (0.93, 0.84, 0.6), -0.35, _sea, (0.2, 0.5, 0.75)),
    "in the forest": Place((0.7, 0.88, 0.8), (0.3, 0.5, 0.25), -0.3, _trees, (0.12, 0.38, 0.2)),
    "in the city": Place((0.75, 0.78, 0.85), (0.45, 0.45, 0.48), -0.4, _houses, (0.5, 0.52, 0.6)),
    "in the snow": Place((0.8, 0.88, 0.95), (0.97, 0.98, 1.0), -0.3, _nothing, (0.0, 0.0, 0.0)),
    "in the desert": Place((0.98, 0.85, 0.6), (0.85, 0.65, 0.35), -0.35, _dunes, (0.9, 0.74, 0.45)),
    "at night": Place((0.06, 0.08, 0.2), (0.12, 0.16, 0.14), -0.35, _stars, (0.95, 0.95, 0.85)),
}


def paint_place(name: str, size: int, rng: random.Random) -> Tensor:
    """A background ``[s, s, 3]`` in 0..1; horizon, tints and decoration vary with ``rng``."""
    place = PLACES[name]
    x, y = pixel_grid(size)
    horizon = place.horizon + rng.uniform(-0.06, 0.06)
    sky = torch.tensor(place.sky) + rng.uniform(-0.03, 0.03)
    ground = (torch.tensor(place.ground) + rng.uniform(-0.03, 0.03)).clamp(0, 1)
    # The sky darkens upwards a little.
    picture = (sky * (1 - 0.15 * (y[..., None] - 0.2))).clamp(0, 1).expand(size, size, 3)
    decorated = place.decoration(x, y, horizon, rng)[..., None]
    picture = torch.where(decorated, torch.tensor(place.paint), picture)
    return torch.where((y < horizon)[..., None], ground, picture)
