"""Small disturbances of pictures that leave what they show as it is, for training evaluators.

Each picture of a batch gets its own; clips are disturbed as one by giving their frames as channels.
Shapes: b pictures, c channels, h/w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """A number for each picture, ``[b, 1, 1, 1]``."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def shifted(images: Tensor, widest: int, generator: torch.Generator) -> Tensor:
    """Each picture of ``[b, c, h, w]`` moved by up to ``widest`` pixels either way.

    What moves in repeats the border.
    """
    height, width = images.shape[-2:]
    padded = functional.pad(images, (widest, widest, widest, widest), mode="replicate")
    at = torch.randint(0, 2 * widest + 1, (len(images), 2), generator=generator)
    rows = at[:, :1] + torch.arange(height)
    columns = at[:, 1:] + torch.arange(width)
    index = torch.arange(len(images))[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
