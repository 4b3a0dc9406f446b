"""Training changes of low rank (LoRA, Hu et al. 2021): factors beside the weights, by peft.

Whole values train in :mod:`motion_ray.customization.parameters`. What a delta keeps of the factors,
and how they are merged, is in :mod:`motion_ray.customization.low_rank`.

Shapes: weight ``[o, i, ...]``; its factors ``[r, i, ...]`` and ``[o, r, ...]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from motion_ray.backbones.base import Backbone
from motion_ray.config import LowRankConfig
from motion_ray.customization.low_rank import from_peft
from motion_ray.customization.parameters import select_parameters
from motion_ray.errors import ConfigError
from motion_ray.types import ParameterGroup

LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d)
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.default\.weight")


def add_low_rank(
    backbone: Backbone, groups: Iterable[ParameterGroup], settings: LowRankConfig, seed: int
) -> dict[str, nn.Parameter]:
    """Put factors beside the weights of the named groups; they train and nothing else does.

    The change starts at zero: one factor is random, the other is zero. The denoiser's modules are
    wrapped in place, so it is used up for anything but this training.

    Args:
        backbone: its denoiser is changed.
        groups: whose linear and convolution weights get factors.
        settings: rank and scale.
        seed: of the random factors.

    Returns:
        peft's name to factor, in the denoiser's order.

    Raises:
        ConfigError: a named group has no parameters, or none that can have factors.
    """
    # takes a second that most runs can save
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    wanted = list(groups)
    modules = _layers(backbone, select_parameters(backbone, wanted, masters=False))
    found = {backbone.group_of(f"{module}.weight") for module in modules}
    if empty := sorted(set(wanted) - found):
        raise ConfigError(
            "groups", f"{', '.join(empty)} has no weights for low_rank", "leave the group out"
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or settings.rank,  # pyright: ignore[reportArgumentType]
        target_modules="|".join(re.escape(module) for module in modules),  # whole names, no suffix
        bias="none",
    )
    device = next(backbone.denoiser.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # peft draws from the ambient generator
        inject_adapter_in_model(config, backbone.denoiser)
    for module in backbone.denoiser.modules():
        if isinstance(module, LoraLayer):
            # Autocast rounds inputs itself. A float32 copy before that changes no prediction; what
            # it does to gradients is that some are added up in float32, and it takes time.
            module.cast_input_dtype_enabled = False
    factors: dict[str, nn.Parameter] = {}
    for name, parameter in backbone.denoiser.named_parameters():
        train = _FACTOR.fullmatch(name) is not None
        parameter.requires_grad_(train)
        if train:
            parameter.data = parameter.data.float()
            factors[name] = parameter
    return factors


def count_factors(
    backbone: Backbone, selected: Mapping[str, nn.Parameter], settings: LowRankConfig
) -> tuple[int, int]:
    """How many numbers and tensors :func:`add_low_rank` would train, without adding them.

    Args:
        backbone: the base.
        selected: parameters of the named groups.
        settings: the rank.
    """
    weights = [selected[f"{module}.weight"] for module in _layers(backbone, selected)]
    sides = sum(weight.shape[0] + weight[0].numel() for weight in weights)
    return settings.rank * sides, 2 * len(weights)


def _layers(backbone: Backbone, selected: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of the modules whose weights are among these and can have factors."""
    return [
        name.removesuffix(".weight")
        for name in selected
        if name.endswith(".weight")
        and isinstance(backbone.denoiser.get_submodule(name.removesuffix(".weight")), LAYERS)
    ]


def delta_factors(factors: Mapping[str, Tensor], settings: LowRankConfig) -> dict[str, Tensor]:
    """What a delta stores of factors from :func:`add_low_rank`: the scale is multiplied in."""
    state = {name.replace(".default.weight", ".weight"): value for name, value in factors.items()}
    return from_peft(state, alpha=settings.alpha or settings.rank)
