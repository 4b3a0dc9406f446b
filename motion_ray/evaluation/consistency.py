"""Two scores of embedded frames: temporal consistency, and diversity across seeds.

Consistency is the mean cosine of neighbouring frames (Esser et al., Structure and Content-Guided
Video Synthesis with Diffusion Models, ICCV 2023, section 4.4). A still picture has the highest, so
it says something only beside motion accuracy. Diversity is how much videos of one prompt differ
from seed to seed: one minus the mean cosine of their mean embeddings; a model that has memorized
its training clips loses it. Both depend on the image-text model. Shapes: f frames, n videos, e
width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def temporal_consistency(frames: Tensor) -> float:
    """Of one video, by unit vectors of its frames ``[f, e]``.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError("consistency is of two frames at least")
    return float((frames[1:] * frames[:-1]).sum(-1).mean())


def mean_embedding(frames: Tensor) -> Tensor:
    """A video's own unit vector ``[e]``, from unit vectors of its frames ``[f, e]``."""
    return functional.normalize(frames.mean(0), dim=0)


def seed_diversity(videos: Tensor) -> float:
    """Of videos of one prompt, by their unit vectors ``[n, e]``: 0 if all are alike.

    Raises:
        ValueError: fewer than two videos.
    """
    count = len(videos)
    if count < 2:
        raise ValueError("diversity is of two videos at least")
    cosines = videos @ videos.T
    apart = ~torch.eye(count, dtype=torch.bool, device=videos.device)
    return float(1 - cosines[apart].mean())
