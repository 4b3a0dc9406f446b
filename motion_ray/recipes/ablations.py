"""One choice of our method changed at a time: the paper's table 2, and what lies beyond it.

A variant is a named change of "ours" at any scale. The first of each table is ours itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from motion_ray.config import CustomizationConfig, UniformDensity
from motion_ray.recipes.paper import closely
from motion_ray.types import SPATIAL, TEMPORAL, ParameterGroup


@dataclass(frozen=True)
class Variant:
    """A change of a method, in most cases of ours.

    Attributes:
        name: in recipe names and folders: ``paper-<name>``, ``puppet-<name>``.
        title: in tables.
        changes: nested, for :meth:`CustomizationConfig.replace`.
        rate: the learning rate is multiplied by this.
        hasty: validated as :func:`motion_ray.recipes.paper.closely` says.
    """

    name: str
    title: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 1.0
    hasty: bool = False

    def on(self, method: CustomizationConfig) -> CustomizationConfig:
        """The variant of a method at a scale."""
        if self is OURS:
            return method
        lr = method.optimizer.lr * self.rate
        every = closely(method) if self.hasty else method.validation.every
        named = {
            "recipe": f"{method.recipe}-{self.name}",
            "optimizer": {"lr": lr},
            "validation": {"every": every},
        }
        return method.replace(dict(self.changes)).replace(named)


OURS = Variant("ours", "ours")

SPATIAL_NONE = Variant("spatial-none", "no spatial layers", {"groups": sorted(TEMPORAL)})
SPATIAL_ALL = Variant(
    "spatial-all", "all spatial layers", {"groups": sorted(TEMPORAL | SPATIAL)}, hasty=True
)
TEMPORAL_NONE = Variant(
    "temporal-none", "no temporal layers", {"groups": [ParameterGroup.SPATIAL_CROSS_KV]}
)
ALL_PARAMETERS = Variant("all", "all parameters", {"groups": sorted(ParameterGroup)}, hasty=True)
TOKEN_TRAINED = Variant("token-trained", "token trained", {"train_token": True})
UNIFORM = Variant("uniform", "uniform timesteps", {"density": UniformDensity().model_dump()})
REGULARIZATION_NONE = Variant(
    "regularization-none", "no regularization", {"regularization": {"source": "none"}}
)
REGULARIZATION_SYNTHETIC = Variant(
    "regularization-synthetic",
    "synthetic regularization",
    {"regularization": {"source": "synthetic"}},
)

#: Table of the paper to its rows.
TABLE_2: dict[str, tuple[Variant, ...]] = {
    "table2a": (OURS, SPATIAL_NONE, SPATIAL_ALL),
    "table2b": (OURS, TEMPORAL_NONE),
    "table2c": (OURS, TOKEN_TRAINED),
    "table2d": (OURS, UNIFORM),
    "table2e": (OURS, REGULARIZATION_NONE, REGULARIZATION_SYNTHETIC),
}

#: Not in the paper: how much data, what rank and which learning rate it takes.
CLIPS = tuple(
    Variant(f"clips-{n}", "1 clip" if n == 1 else f"{n} clips", {"motion_clips": n})
    for n in (1, 3, 5, 10)
)
RANKS = tuple(
    Variant(f"rank-{n}", f"LoRA of rank {n}", {"low_rank": {"rank": n}}) for n in (1, 4, 16)
)
RATE_THIRD = Variant("rate-third", "a third of the learning rate", rate=1 / 3)
RATES = (
    RATE_THIRD,
    Variant("rate-triple", "three times the learning rate", rate=3.0, hasty=True),
)
#: Of baselines whose appearance is below the floor long before their last step: a lower rate may
#: teach them more, and a comparison is fair if that was tried.
SLOWER = (RATE_THIRD, Variant("rate-tenth", "a tenth of the learning rate", rate=0.1))

#: Every variant but ours, once.
ABLATIONS: tuple[Variant, ...] = (
    *(variant for rows in TABLE_2.values() for variant in rows if variant is not OURS),
    ALL_PARAMETERS,
    *CLIPS,
    *RANKS,
    *RATES,
)
