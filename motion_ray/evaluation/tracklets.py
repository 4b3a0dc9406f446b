"""Tracks of points through a video, for motion fidelity: a small tracker of our own.

Pyramidal Lucas-Kanade (J.-Y. Bouguet, Pyramidal Implementation of the Lucas Kanade Feature Tracker,
2001): a point's window is matched with the next frame, coarse to fine, by Gauss-Newton steps.
Points start on a grid, where the picture has corners (J. Shi, C. Tomasi, Good Features to Track,
1994). A point that leaves the picture, or does not come back to where it was when followed
backwards, is dropped (Z. Kalal et al., Forward-Backward Error, 2010). It needs no weights; the
field's trackers (CoTracker, PIPs++) follow points through occlusion, which this one does not.
Shapes: f frames, h/w pixels, p points, k pixels of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 3  # pixels on either side of a point
ITERATIONS = 8  # a level
MARGIN = 1  # pixels from the picture's edge, within which a point counts as gone
RETURN = 1.0  # pixels, from which a point may miss its place when followed there and back
SMALLEST = 12  # pixels of a side at the coarsest level
CORNER = 3e-4  # smaller eigenvalue of the structure tensor, of brightness in 0..1: below, no corner


@dataclass(frozen=True)
class Tracker:
    """How points are followed.

    Attributes:
        spacing: of the grid that points start on, in pixels.
        levels: of the picture pyramid at most; each reaches twice as far as the one below.
    """

    spacing: int = 4
    levels: int = 3

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Positions (x, y) of points over time, in pixels: float32 ``[p, f, 2]``.

        Args:
            frames: uint8 ``[f, 3, h, w]``; where nothing in the first frame is a corner, there are
                no points.

        Raises:
            ValueError: fewer than two frames, or another shape or type.
        """
        good = frames.dtype == torch.uint8 and frames.ndim == 4 and frames.shape[1] == 3
        if not good or len(frames) < 2:
            raise ValueError(
                f"two frames at least, uint8 [f, 3, h, w], got {frames.dtype} {tuple(frames.shape)}"
            )
        pyramid = _pyramid(frames, self.levels)
        tracks = _corners(pyramid[0][0], self.spacing)[:, None]
        for step in range(len(frames) - 1):
            before = tracks[:, -1]
            after = _follow(pyramid, step, step + 1, before)
            back = _follow(pyramid, step + 1, step, after)
            kept = _inside(after, frames.shape) & ((back - before).norm(dim=1) <= RETURN)
            tracks = torch.cat([tracks, after[:, None]], 1)[kept]
        return tracks


def _inside(points: Tensor, shape: Sequence[int]) -> Tensor:
    """Which of the points ``[p, 2]`` lie in a picture ``[.., h, w]`` and not on its edge."""
    last = torch.tensor([shape[-1], shape[-2]], device=points.device) - 1 - MARGIN
    return ((points >= MARGIN) & (points <= last)).all(1)


def _pyramid(frames: Tensor, levels: int) -> list[Tensor]:
    """Brightness ``[f, h, w]`` in 0..1, then halved again and again."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    grey = torch.einsum("fchw,c->fhw", frames.float() / 255, weights)
    found = [grey]
    while len(found) < levels and min(found[-1].shape[-2:]) >= 2 * SMALLEST:
        found.append(functional.avg_pool2d(_blurred(found[-1])[:, None], 2)[:, 0])
    return found


def _blurred(pictures: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=pictures.device) / 16
    padded = functional.pad(pictures[:, None], (2, 2, 2, 2), mode="replicate")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, 5))
    return functional.conv2d(across, kernel.view(1, 1, 5, 1))[:, 0]


def _corners(picture: Tensor, spacing: int) -> Tensor:
    """Grid points of a picture ``[h, w]`` where it has corners, (x, y) ``[p, 2]``."""
    height, width = picture.shape
    ys = torch.arange(spacing // 2, height, spacing, device=picture.device)
    xs = torch.arange(spacing // 2, width, spacing, device=picture.device)
    points = torch.stack([t.flatten() for t in torch.meshgrid(xs, ys, indexing="xy")], 1).float()
    matrix = _structure(*_gradients(_window(picture, points)))
    half_trace, det = matrix[:, 0, 0] + matrix[:, 1, 1], torch.linalg.det(matrix)
    half_trace = half_trace / 2
    smaller = half_trace - (half_trace.square() - det).clamp(min=0).sqrt()
    return points[smaller > CORNER * (2 * WINDOW + 1) ** 2]


def _follow(pyramid: list[Tensor], here: int, there: int, points: Tensor) -> Tensor:
    """Where points of one frame are in another."""
    moved = torch.zeros_like(points)  # in pixels of the level at hand
    for level in reversed(range(len(pyramid))):
        target = pyramid[level][there]
        at = (points + 0.5) / 2**level - 0.5  # a coarse pixel lies in the middle of four fine ones
        window = _window(pyramid[level][here], at, margin=1)
        across, down = _gradients(window)
        inner = window[:, 1:-1, 1:-1]
        # A window without structure has no answer; the ridge makes it stay where it is.
        matrix = _structure(across, down) + 1e-4 * torch.eye(2, device=points.device)
        inverse = torch.linalg.inv(matrix)
        for _ in range(ITERATIONS):
            error = inner - _window(target, at + moved)
            pull = torch.stack([(across * error).sum((1, 2)), (down * error).sum((1, 2))], 1)
            moved = moved + torch.einsum("pij,pj->pi", inverse, pull).clamp(-1, 1)
        if level:
            moved = 2 * moved
    return points + moved


def _window(picture: Tensor, centres: Tensor, margin: int = 0) -> Tensor:
    """Pixels around points ``[p, k, k]`` of a picture ``[h, w]``, bilinear; the edge goes on."""
    reach = WINDOW + margin
    span = torch.arange(-reach, reach + 1, device=picture.device, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(span, span, indexing="xy"), -1)
    at = centres[:, None, None] + offsets
    size = torch.tensor(picture.shape[::-1], device=picture.device)
    grid = (2 * at + 1) / size - 1
    side = 2 * reach + 1
    flat = grid.reshape(1, -1, side, 2)
    found = functional.grid_sample(
        picture[None, None], flat, padding_mode="border", align_corners=False
    )
    return found[0, 0].reshape(-1, side, side)


def _gradients(window: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down ``[p, k-2, k-2]``."""
    across = (window[:, 1:-1, 2:] - window[:, 1:-1, :-2]) / 2
    down = (window[:, 2:, 1:-1] - window[:, :-2, 1:-1]) / 2
    return across, down


def _structure(across: Tensor, down: Tensor) -> Tensor:
    """The structure tensor of each window, ``[p, 2, 2]``."""
    mixed = (across * down).sum((1, 2))
    rows = [(across * across).sum((1, 2)), mixed, mixed, (down * down).sum((1, 2))]
    return torch.stack(rows, 1).reshape(-1, 2, 2)
