"""Recipes: functions that return one complete config. The only place where experiments live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from motion_ray.config import CustomizationConfig, parse_config, set_path
from motion_ray.errors import ConfigError
from motion_ray.recipes.ablations import ABLATIONS, SLOWER
from motion_ray.recipes.baselines import BASELINES, HASTY, PAPER_RATES, PUPPET_RATES
from motion_ray.recipes.paper import ours
from motion_ray.recipes.puppet import puppet
from motion_ray.recipes.subject import subject
from motion_ray.yaml_files import read_mapping

Recipe = Callable[[], CustomizationConfig]


def _family(scale: str, method: Recipe, rates: dict[str, float]) -> Iterator[tuple[str, Recipe]]:
    """Our method at a scale, and everything that is compared with it there."""
    yield scale, method
    yield f"{scale}-subject", lambda: subject(method())
    for name, baseline in BASELINES.items():
        yield f"{scale}-{name}", partial(_built, baseline, method, rates[name])
    for name in HASTY:
        own = partial(_built, BASELINES[name], method, rates[name])
        for variant in SLOWER:
            yield f"{scale}-{name}-{variant.name}", partial(_built, variant.on, own)
    for variant in ABLATIONS:
        yield f"{scale}-{variant.name}", partial(_built, variant.on, method)


def _built(
    change: Callable[..., CustomizationConfig], method: Recipe, *rest: float
) -> CustomizationConfig:
    return change(method(), *rest)


#: Name to recipe: ``paper``, ``puppet``, and ``paper-dreambooth`` and the like.
RECIPES: dict[str, Recipe] = {
    **dict(_family("paper", ours, PAPER_RATES)),
    **dict(_family("puppet", puppet, PUPPET_RATES)),
}


def load_config(
    recipe: str,
    *,
    base: str | None = None,
    motion: str | None = None,
    sets: Sequence[str] = (),
) -> CustomizationConfig:
    """A complete config from what a command line gives.

    Args:
        recipe: name of a recipe, or a YAML file that holds ``recipe:`` (a name) and changes to it,
            or a complete config.
        base: replaces the recipe's base.
        motion: the motion folder.
        sets: assignments such as ``optimizer.lr=1e-4``.

    Raises:
        ConfigError: unknown recipe, unknown field or wrong type.
    """
    config = _recipe(recipe)
    changes: dict[str, Any] = {}
    if base is not None:
        changes["base"] = base
    if motion is not None:
        changes["motion"] = motion
    for assignment in sets:
        set_path(changes, assignment)
    config = config.replace(changes)
    if not config.base:
        raise ConfigError(
            "base",
            f"recipe {config.recipe!r} needs a base model",
            "for example --base models/zeroscope_v2_576w",
        )
    if not config.motion:
        raise ConfigError(
            "motion", "needs a folder of clips", "for example --motion clips/my-motion"
        )
    return config


def _recipe(recipe: str) -> CustomizationConfig:
    if recipe in RECIPES:
        return RECIPES[recipe]()
    path = Path(recipe).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"recipe {recipe!r}",
            "is not known",
            f"one of {', '.join(sorted(RECIPES))}, or a .yaml file",
        )
    return parse_recipe_file(path)


def parse_recipe_file(path: Path) -> CustomizationConfig:
    """Read a YAML file: changes to a named recipe, or a complete config.

    Raises:
        ConfigError: the file cannot be read, or a field is wrong.
    """
    content = read_mapping(path, "for example 'recipe: puppet' and 'max_steps: 500'")
    name = content.get("recipe")
    if isinstance(name, str) and name in RECIPES:
        return RECIPES[name]().replace(content)
    return parse_config(content)
