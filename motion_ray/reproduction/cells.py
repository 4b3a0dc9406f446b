"""One method, one motion, one training seed: a reproduction trains a list of such cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from motion_ray.config import CustomizationConfig
from motion_ray.data.puppets.folders import slug
from motion_ray.recipes import RECIPES, load_config
from motion_ray.reproduction.clips import CLIPS, Clips
from motion_ray.reproduction.experiment import Experiment
from motion_ray.reproduction.experiments import EXPERIMENTS

#: Methods of which steps on the way are kept too. Of every cell of theirs, whatever is asked for:
#: a run must not depend on which tables it is trained for.
CURVED = frozenset(row.method for e in EXPERIMENTS.values() if e.curves for row in e.rows)


@dataclass(frozen=True)
class Cell:
    """One customization.

    Attributes:
        method: ``"ours"``, or what follows the scale in a recipe's name.
        motion: to learn.
        seed: of the training.
    """

    method: str
    motion: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder, and of its delta in the store."""
        return f"{self.method}--{slug(self.motion)}--s{self.seed}"


def cells_of(experiments: Sequence[Experiment], clips: Clips) -> list[Cell]:
    """Every cell once; all motions of the first seed come before the second seed's, so that a
    reproduction that is cut short has something of each row.
    """
    scale = clips.scale
    rows = [row for experiment in experiments for row in experiment.rows]
    return list(
        dict.fromkeys(
            Cell(row.method, motion, seed)
            for seed in scale.headline_seeds
            for motion in scale.motions
            for row in rows
            if seed in scale.seeds or row.headline
        )
    )


def config_of(cell: Cell, clips: Clips) -> CustomizationConfig:
    """The complete config of a cell; its clips are drawn if they are not there.

    Raises:
        ConfigError: the scale's settings do not fit the recipe.
    """
    scale = clips.scale
    name = scale.recipe if cell.method == "ours" else f"{scale.recipe}-{cell.method}"
    folder = clips.motion(cell.motion, clips_of(name))
    config = load_config(name, base=scale.settings.base, motion=str(folder), sets=scale.sets)
    changes: dict[str, Any] = {
        "name": cell.name,
        "seed": cell.seed,
        "validation": {"publish": cell.method in CURVED},
    }
    if config.regularization.source == "real":
        changes["regularization"] = {"folder": str(clips.regularization())}
    return config.replace(changes)


def clips_of(recipe: str) -> int:
    """How many clips of the motion a recipe trains on."""
    return RECIPES[recipe]().motion_clips or CLIPS
