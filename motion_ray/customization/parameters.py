"""Which parameters a customization trains (paper section 3.2, "Choice of customization
parameters").
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from motion_ray.backbones.base import Backbone
from motion_ray.errors import ConfigError
from motion_ray.types import ParameterGroup


def select_parameters(
    backbone: Backbone, groups: Iterable[ParameterGroup], *, masters: bool = True
) -> dict[str, nn.Parameter]:
    """Let exactly the named groups of the denoiser train; everything else is frozen.

    Args:
        backbone: its denoiser's parameters are marked.
        groups: that train.
        masters: selected parameters become float32 in place: they are the optimizer's master
            weights, and an update of 5e-6 would vanish in bfloat16.

    Returns:
        Name to parameter, in the denoiser's order.

    Raises:
        ConfigError: a named group has no parameter in this model.
    """
    wanted = frozenset(groups)
    check_groups(backbone, wanted)
    selected: dict[str, nn.Parameter] = {}
    for name, parameter in backbone.denoiser.named_parameters():
        train = backbone.group_of(name) in wanted
        parameter.requires_grad_(train)
        if train:
            if masters:
                parameter.data = parameter.data.to(torch.float32)
            selected[name] = parameter
    return selected


def check_groups(backbone: Backbone, groups: Iterable[ParameterGroup]) -> None:
    """Refuse groups that a model does not have.

    Raises:
        ConfigError: a named group has no parameter in this model.
    """
    there = {backbone.group_of(name) for name, _ in backbone.denoiser.named_parameters()}
    if empty := frozenset(groups) - there:
        raise ConfigError(
            "groups",
            f"this base model has no parameters in {', '.join(sorted(empty))}",
            "leave the group out, or choose a base that has it",
        )
