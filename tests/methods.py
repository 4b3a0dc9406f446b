"""Baselines and ablations on a tiny base: what the tests of recipes and of the loop share."""

from __future__ import annotations

from motion_ray.config import CustomizationConfig
from motion_ray.recipes import RECIPES

#: Recipe -> what differs from "ours" in its trained parameters, tokens, parametrization or base.
METHODS = (
    "textual-inversion",
    "dreambooth",
    "custom-diffusion",
    "tune-a-video",
    "all",
    "token-trained",
    "rank-4",
)


def tiny_method(name: str, tiny: CustomizationConfig) -> CustomizationConfig:
    """The method of ``paper-<name>`` with everything else as in a tiny run.

    A learning rate of 1e-3 for all, because a step has to be seen in float32.
    """
    method = RECIPES[f"paper-{name}"]()
    changes = method.model_dump(
        mode="json", include={"groups", "train_token", "low_rank", "density", "inflate"}
    )
    source = method.regularization.source
    folder = tiny.regularization.folder if source == "real" else None
    regularization = {"source": source, "folder": folder, "synthetic_clips": 2}
    return tiny.replace({**changes, "recipe": method.recipe, "regularization": regularization})
