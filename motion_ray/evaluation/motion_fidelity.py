"""Motion fidelity: do points of a generated video move as points of a reference do?

The score of Yatim et al., Space-Time Diffusion Features for Zero-Shot Text-Driven Motion Transfer
(CVPR 2024, section 5): the correlation of two tracks is the mean over time of the cosine between
their displacements; every track is given its best partner in the other video, and the two
directions are averaged. Where things are in the picture does not matter, only how they move. Two
choices are ours: tracks that never move are left out, since a still background would agree with
any other; and a step at which both of two tracks rest counts as agreement, one at which only one
rests as none. Shapes: p points of one video, q of another, f frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RESTING = 0.1  # pixels a frame, below which a point stands still: what tracking errors amount to


def moving(tracks: Tensor, resting: float = RESTING) -> Tensor:
    """Those of the tracks ``[p, f, 2]`` that move at some time."""
    return tracks[(_steps(tracks).norm(dim=-1) >= resting).any(1)]


def correlation(first: Tensor, second: Tensor, resting: float = RESTING) -> Tensor:
    """Correlations ``[p, q]``, each in -1..1, of tracks ``[p, f, 2]`` and ``[q, f, 2]``.

    Raises:
        ValueError: the videos differ in length.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"tracks have {first.shape[1]} and {second.shape[1]} frames")
    directions, rests = [], []
    for tracks in (first, second):
        steps = _steps(tracks)
        speed = steps.norm(dim=-1, keepdim=True)
        rest = speed < resting
        directions.append(torch.where(rest, 0.0, steps / speed.clamp(min=resting)))
        rests.append(rest[..., 0].float())
    agreement = torch.einsum("pfc,qfc->pqf", *directions)
    return (agreement + torch.einsum("pf,qf->pqf", *rests)).mean(-1)


def motion_fidelity(video: Tensor, reference: Tensor, resting: float = RESTING) -> float:
    """The score of two videos by their tracks ``[p, f, 2]`` and ``[q, f, 2]``, in -1..1.

    Two videos in which nothing moves agree (1); one of them alone does not (0).
    """
    ours, theirs = moving(video, resting), moving(reference, resting)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    found = correlation(ours, theirs, resting)
    return float((found.amax(1).mean() + found.amax(0).mean()) / 2)


def mean_fidelity(video: Tensor, references: Sequence[Tensor]) -> float:
    """The mean of the scores with several references: of a motion's training clips.

    The mean and not the best, which would reward the copy of one clip.

    Raises:
        ValueError: there are no references.
    """
    if not references:
        raise ValueError("fidelity is to at least one reference")
    return sum(motion_fidelity(video, each) for each in references) / len(references)


def _steps(tracks: Tensor) -> Tensor:
    return tracks[:, 1:] - tracks[:, :-1]
