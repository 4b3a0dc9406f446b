"""How fast weights change in a training: the learning rate, and the running average of weights."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

RAMP = 10  # updates; a young average leans on what is new, up to a tenth
QUICKEST = 0.1


def warm_cosine(step: int, steps: int, warmup: int, floor: float) -> float:
    """Factor of the learning rate: a linear rise, then half a cosine from 1 down to ``floor``.

    Args:
        step: from 0.
        steps: in all.
        warmup: steps of the rise.
        floor: at the end, in 0..1.
    """
    rise = min(1.0, (step + 1) / warmup)
    return rise * (floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * step / steps)))


def running_average(module: nn.Module, share: float) -> AveragedModel:
    """An exponential moving average of weights, as a second module that is never trained.

    Args:
        module: followed with ``update_parameters`` after every update.
        share: of the newest weights in the average, once it is old; more while it is young.
    """

    def update(averaged: PARAM_LIST, current: PARAM_LIST, updates: Tensor | int) -> None:
        young = RAMP / (int(updates) + RAMP)
        decay = 1 - max(share, min(QUICKEST, young))
        get_ema_multi_avg_fn(decay)(averaged, current, updates)

    average = AveragedModel(module, multi_avg_fn=update)
    average.requires_grad_(False).eval()
    return average
