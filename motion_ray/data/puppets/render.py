"""Draws scenes of the puppet world: anti-aliased capsules over a background, many scenes at once.

Shapes: b scenes, p puppets of all scenes, k capsules of a scene (two puppets one after the other),
f frames, s picture side. Units: half the picture's side.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, build
from motion_ray.data.puppets.motions import pose
from motion_ray.data.puppets.places import paint_place, pixel_grid
from motion_ray.data.puppets.pose import STYLES, Beat, Pose
from motion_ray.data.puppets.sketch import Capsules
from motion_ray.data.puppets.world import SPEEDS, PuppetScene
from motion_ray.errors import DataError
from motion_ray.types import Clip

FRAMES, SIZE, FPS = 8, 64, 8.0

# Puppet size and places to stand, by how many share the picture.
SCALE = {1: 1.12, 2: 0.74}
STANDING = {1: (0.0,), 2: (-0.46, 0.46)}
GROUND = {1: -0.26, 2: -0.22}
# What chance does to a puppet: least and most of size, of strength and of pace, and how far it may
# stand from its place and be ahead of its companion (in cycles).
SIZES, STRENGTHS, PACES = (0.9, 1.06), (0.85, 1.1), (0.95, 1.05)
ASIDE, UP, AHEAD = 0.07, 0.05, 0.04
PLACE_STREAM = 7  # the background has its own random stream, so that puppets can change without it
# Cells of capsule x frame x pixel in one drawing call, 4 MiB: bounds memory and suits caches.
CELLS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Cast:
    """The chance part of p puppets, drawn from their scenes' seeds."""

    scenes: list[int]  # which scene each belongs to
    phase: Tensor  # [p, f]
    amplitude: Tensor  # [p, 1]
    direction: Tensor  # [p, 1]
    x: Tensor  # [p, 1]
    y: Tensor  # [p, 1]
    scale: Tensor  # [p, 1]
    style: Tensor  # [p, STYLES]


def render_scene(scene: PuppetScene, frames: int = FRAMES, size: int = SIZE) -> Clip:
    """Draw one scene: one motion cycle (less if slow, more if quick) over the clip.

    Args:
        scene: what to draw.
        frames: number of frames f.
        size: side of the square picture in pixels.

    Returns:
        A clip with frames uint8 ``[f, 3, size, size]``.

    Raises:
        DataError: no frames, or a size of no pixels.
    """
    source = f"puppet world, seed {scene.seed}"
    return Clip(frames=render_batch([scene], frames, size)[0], fps=FPS, source=source)


def render_batch(scenes: Sequence[PuppetScene], frames: int = FRAMES, size: int = SIZE) -> Tensor:
    """Draw scenes, uint8 ``[b, f, 3, size, size]``. A scene's bits do not depend on its neighbours.

    Raises:
        DataError: no scenes, no frames, or a size of no pixels.
    """
    for name, value in (("scenes", len(scenes)), ("frames", frames), ("size", size)):
        if value < 1:
            raise DataError(
                f"render_batch, {name}", f"must be at least 1, got {value}", "for example 8"
            )
    # Scenes of one kind and count have equally many capsules, so a group needs no padding.
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, scene in enumerate(scenes):
        groups[scene.kind, scene.count].append(number)
    drawn = torch.empty(len(scenes), frames, 3, size, size, dtype=torch.uint8)
    for numbers in groups.values():
        members = [scenes[number] for number in numbers]
        capsules = _capsules(members, frames)
        step = max(1, CELLS_AT_ONCE // (capsules.shapes.shape[1] * frames * size * size))
        for at in range(0, len(members), step):
            part = slice(at, at + step)
            background = torch.stack([_background(scene, size) for scene in members[part]])
            some = Capsules(capsules.shapes[part], capsules.colours[part])
            drawn[numbers[part]] = _draw(some, background)
    return drawn


def _background(scene: PuppetScene, size: int) -> Tensor:
    return paint_place(scene.place, size, random.Random(scene.seed + PLACE_STREAM))


def _cast(scenes: Sequence[PuppetScene], frames: int) -> _Cast:
    time = torch.arange(frames) / frames
    index: list[int] = []
    phase: list[Tensor] = []
    rows: list[tuple[float, float, float, float, float]] = []
    style: list[list[float]] = []
    for number, scene in enumerate(scenes):
        rng = random.Random(scene.seed)
        speed = SPEEDS[scene.speed] * rng.uniform(*PACES)
        start = rng.random()
        scale = SCALE[scene.count] * rng.uniform(*SIZES)
        # Puppets that improvise together do the same.
        improvised = [rng.random() for _ in range(STYLES)]
        for centre in STANDING[scene.count]:
            amplitude, direction = rng.uniform(*STRENGTHS), rng.choice((-1, 1))
            phase.append(time * speed + start + rng.uniform(-AHEAD, AHEAD))
            x = centre + rng.uniform(-ASIDE, ASIDE)
            y = GROUND[scene.count] + rng.uniform(-UP, UP)
            rows.append((amplitude, direction, x, y, scale))
            style.append(improvised)
            index.append(number)
    amplitude, direction, x, y, scale = torch.tensor(rows)[..., None].unbind(1)
    return _Cast(index, torch.stack(phase), amplitude, direction, x, y, scale, torch.tensor(style))


def _poses(scenes: Sequence[PuppetScene], cast: _Cast) -> Tensor:
    """Joints of all puppets ``[12, p, f]``; puppets of one motion are posed together."""
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for puppet, number in enumerate(cast.scenes):
        groups[scenes[number].motion, scenes[number].also].append(puppet)
    joints = torch.empty(len(fields(Pose)), *cast.phase.shape)
    for (motion, also), members in groups.items():
        beat = Beat(
            cast.phase[members],
            cast.amplitude[members],
            cast.direction[members],
            cast.style[members],
        )
        joints[:, members] = pose(motion, beat, also).stacked()
    return joints


def _capsules(scenes: Sequence[PuppetScene], frames: int) -> Capsules:
    """Capsules ``[b, k, f, 5]`` of scenes of one kind and count, drawn and posed together."""
    cast = _cast(scenes, frames)
    own = torch.tensor([COLOURS[scene.colour] for scene in scenes])[cast.scenes]
    body = Pose(*_poses(scenes, cast))
    built = build(scenes[0].kind, own, body, cast.x, cast.y, cast.scale)
    # The puppets of a scene follow each other: [b * count, k, ...] to [b, count * k, ...].
    together = (len(scenes), -1)
    shapes, colours = (
        each.flatten(0, 1).unflatten(0, together) for each in (built.shapes, built.colours)
    )
    return Capsules(shapes, colours)


def _coverage(shapes: Tensor, size: int) -> Tensor:
    """How much of each pixel a capsule covers, 0..1: ``[b, k, f, 5]`` to ``[b, k, f, s, s]``.

    The squared distance to a segment is |q|^2 - |d|^2 h (2t - h), with q from its start to the
    pixel, d along it, t the foot of the perpendicular in units of d and h = t clamped to 0..1:
    mostly sums of rows and columns, so that few operations touch every pixel.
    """
    x, y = pixel_grid(size)
    start_x, start_y, end_x, end_y, radius = (part[..., None, None] for part in shapes.unbind(-1))
    along_x, along_y = end_x - start_x, end_y - start_y
    squared = along_x**2 + along_y**2 + 1e-8
    from_x, from_y = x - start_x, y - start_y
    foot = from_x * (along_x / squared) + from_y * (along_y / squared)
    nearest = foot.clamp(0, 1)
    saved = foot.mul_(2).sub_(nearest).mul_(nearest).mul_(squared)
    distance = (from_x**2 + from_y**2 - saved).clamp_(min=0).sqrt_()
    # Half a pixel inside to half a pixel outside of the edge goes from 1 to 0.
    return distance.sub_(radius).mul_(-size / 2).add_(0.5).clamp_(0, 1)


def _draw(capsules: Capsules, background: Tensor) -> Tensor:
    """Painter's order: ``[b, k, f, 5]`` over ``[b, s, s, 3]`` to uint8 ``[b, f, 3, s, s]``."""
    batch, _, frames = capsules.shapes.shape[:3]
    size = background.shape[1]
    coverage = _coverage(capsules.shapes, size)
    picture = background.permute(0, 3, 1, 2)[:, None].repeat(1, frames, 1, 1, 1)
    for layer in range(coverage.shape[1]):
        colour = capsules.colours[:, layer, None, :, None, None].expand(
            batch, frames, 3, size, size
        )
        picture.lerp_(colour, coverage[:, layer, :, None])
    return picture.clamp_(0, 1).mul_(255).round_().byte()
