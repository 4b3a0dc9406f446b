"""Points are found and followed; fidelity, consistency and diversity by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from motion_ray.evaluation.consistency import (
    mean_embedding,
    seed_diversity,
    temporal_consistency,
)
from motion_ray.evaluation.motion_fidelity import (
    correlation,
    mean_fidelity,
    motion_fidelity,
    moving,
)
from motion_ray.evaluation.tracklets import Tracker


def texture(height: int, width: int) -> Tensor:
    """Smooth random pixels ``[3, h, w]`` in 0..1."""
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(
        noise, size=(height, width), mode="bicubic", align_corners=False
    )[0].clamp(0, 1)


def sliding(steps: list[tuple[int, int]], side: int = 48) -> Tensor:
    """A window on a large picture that moves by (x, y) from frame to frame: the picture moves
    the other way."""
    large = texture(3 * side, 3 * side)
    x = y = side
    frames = [large[:, y : y + side, x : x + side]]
    for dx, dy in steps:
        x, y = x - dx, y - dy
        frames.append(large[:, y : y + side, x : x + side])
    return (torch.stack(frames) * 255).round().byte()


@pytest.mark.parametrize("step", [(1, 0), (0, -2), (3, 2), (-5, 4)])
def test_points_follow_a_picture_that_slides(step: tuple[int, int]) -> None:
    tracks = Tracker()(sliding([step] * 2))
    assert len(tracks) > 40 and tracks.shape[1:] == (3, 2)
    moved = tracks[:, 1:] - tracks[:, :-1]
    errors = (moved - torch.tensor(step).float()).norm(dim=-1)
    assert errors.median() < 0.1 and (errors < 0.5).float().mean() > 0.95
    assert tracks.min() >= 1 and tracks.max() <= 46  # those that leave are dropped


def test_points_that_disappear_are_dropped() -> None:
    frames = sliding([(0, 0), (0, 0)])
    frames[1, :, :, 24:] = 255 - sliding([])[0, :, :, 24:]
    tracks = Tracker()(frames)
    assert len(tracks) > 20 and tracks[:, 0, 0].max() < 28


def test_there_are_no_points_on_a_plain_ground_or_along_an_edge() -> None:
    plain = torch.full((2, 3, 32, 32), 90, dtype=torch.uint8)
    assert Tracker()(plain).shape == (0, 2, 2)
    edge = plain.clone()
    edge[..., 16:] = 200  # a point could slide along it unseen
    assert len(Tracker()(edge)) == 0
    with pytest.raises(ValueError, match="two frames"):
        Tracker()(plain[:1])


def line(*steps: tuple[float, float]) -> Tensor:
    """One track ``[1, f, 2]`` that takes these steps."""
    return torch.tensor([(0.0, 0.0), *steps]).cumsum(0)[None]


def test_the_correlation_of_two_tracks_by_hand() -> None:
    right = line((1, 0), (1, 0))
    assert correlation(right, line((5, 0), (2, 0))).item() == pytest.approx(1.0)  # speed is free
    assert correlation(right, line((-1, 0), (-1, 0))).item() == pytest.approx(-1.0)
    assert correlation(right, line((0, 1), (1, 1))).item() == pytest.approx(math.sqrt(0.5) / 2)
    # Rests: at the first step both, at the second one of them.
    assert correlation(line((0, 0), (1, 0)), line((0, 0), (0, 0))).item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="3 and 2 frames"):
        correlation(right, line((1, 0)))


def test_fidelity_gives_every_track_its_best_partner_both_ways() -> None:
    up, down, right = line((0, 1), (0, 1)), line((0, -1), (0, -1)), line((1, 0), (1, 0))
    video, reference = torch.cat([up, down]), torch.cat([up, right])
    # Best partners: up 1, down 0 (with right); and back up 1, right 0.
    assert motion_fidelity(video, reference) == pytest.approx(0.5)
    assert motion_fidelity(video, torch.cat([down, up])) == pytest.approx(1.0)
    assert motion_fidelity(up, right) == pytest.approx(0.0)
    still = line((0, 0), (0.01, 0))
    assert motion_fidelity(torch.cat([up, still]), up) == pytest.approx(1.0)
    assert motion_fidelity(still, up) == 0.0 and motion_fidelity(still, still) == 1.0
    assert len(moving(torch.cat([up, still]))) == 1
    assert mean_fidelity(up, [up, right]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one"):
        mean_fidelity(up, [])


def test_a_video_played_backwards_moves_otherwise() -> None:
    """Pictures that slide right, then down, against up, then left."""
    forwards = sliding([(3, 0), (3, 0), (0, 3), (0, 3)])
    tracks = Tracker()(forwards)
    own = motion_fidelity(Tracker()(sliding([(2, 0), (2, 0), (0, 2), (0, 2)])), tracks)
    backwards = motion_fidelity(Tracker()(forwards.flip(0)), tracks)
    assert own > 0.9 and backwards < own - 0.5


def test_consistency_and_diversity_by_hand() -> None:
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    assert temporal_consistency(torch.stack([x, x, y])) == pytest.approx((1 + 0.6) / 2)
    assert mean_embedding(torch.stack([x, y])).norm() == pytest.approx(1.0)
    assert seed_diversity(torch.stack([x, x])) == pytest.approx(0.0)
    assert seed_diversity(torch.stack([x, y])) == pytest.approx(0.4)
    assert seed_diversity(torch.stack([x, y, x])) == pytest.approx((0.4 + 0.4) / 3)
    with pytest.raises(ValueError, match="two frames"):
        temporal_consistency(x[None])
    with pytest.raises(ValueError, match="two videos"):
        seed_diversity(x[None])
