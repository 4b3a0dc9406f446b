"""``sweep.yaml``: which motions, which settings, how many seeds, and how the trials are run.

Every setting of a customization can be fixed (``set``), listed (``grid``) or drawn (``random``).
The trials are the full product of motions, grid, samples and seeds
(:func:`motion_ray.sweeps.trials.list_trials`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from motion_ray.config import AppearanceFloor
from motion_ray.errors import ConfigError
from motion_ray.sweeps.distributions import ChoiceValue, Distribution
from motion_ray.sweeps.dotted import overlap
from motion_ray.yaml_files import read_mapping

#: What Ray Tune calls its searchers. "listed" needs none: grid and random give the trials.
SEARCHERS = ("listed", "bayesopt", "hebo", "hyperopt", "optuna")

#: Searchers of Ray Tune that a sweep cannot use, and why. A sweep that is resumed has to find its
#: searcher as it was, so a searcher takes a seed and gives the same suggestions again.
UNFIT_SEARCHERS = {
    "ax": "takes no seed through Ray Tune",
    "bohb": "needs its own scheduler, which ends trials by one metric",
    "nevergrad": "takes no seed through Ray Tune",
    "zoopt": "takes no seed through Ray Tune",
}

#: Settings that have a key of their own in sweep.yaml.
OWN_KEYS = {"motion": "motions", "seed": "seeds", "base": "base", "recipe": "recipe"}

EXAMPLES = {
    "motions": "motions: [clips/swinging-arms, clips/dabbing]",
    "recipe": "recipe: puppet",
    "base": "base: models/zeroscope_v2_576w",
    "set": "set: {max_steps: 300}",
    "grid": "grid: {optimizer.lr: [1.0e-3, 3.0e-4]}",
    "random": "random: {samples: 8, settings: {optimizer.lr: "
    "{kind: loguniform, low: 1.0e-4, high: 1.0e-2}}}",
    "seeds": "seeds: [0, 1]",
    "searcher": "searcher: listed",
    "appearance": "appearance: {clip_model: puppet, relative: 0.9}",
    "policy": "policy: {grace: 0.25}",
    "validation": "validation: trial",
    "concurrency": "concurrency: 4",
    "resources": "resources: {gpu: 1, cpu: 4}",
    "retries": "retries: 2",
    "stall_timeout_s": "stall_timeout_s: 3600",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


class RandomSearch(_Frozen):
    """Settings drawn at random; every motion, grid point and seed gets the same samples.

    With a searcher, every motion, grid point and seed gets a search of its own instead.
    """

    samples: int = Field(
        ge=1, le=100_000, description="draws of all settings together, or trials of each search"
    )
    seed: int = Field(default=0, description="of draws and searchers, not of the training")
    settings: dict[str, Distribution] = Field(min_length=1, description="dotted name to values")


class TrialResources(_Frozen):
    """What one trial holds while it runs."""

    gpu: float = Field(default=1.0, ge=0, description="GPUs; 0.5 puts two trials on one, 0: none")
    cpu: float | None = Field(
        default=None,
        gt=0,
        description="CPU cores; null: engine.threads, or up to 4 beside a GPU, or 1 without one",
    )

    @field_validator("gpu")
    @classmethod
    def _part_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("is a part of one GPU or a whole number of them")
        return value


class PolicySettings(_Frozen):
    """When a trial is ended early for the sake of others (:mod:`motion_ray.sweeps.policy`)."""

    grace: float = Field(
        default=0.25, ge=0, lt=1, description="share of max_steps before which no trial is ended"
    )
    confirmations: int = Field(
        default=2, ge=1, description="validations in a row that must give the same verdict"
    )
    confidence: float = Field(
        default=3.0, gt=0, description="standard errors by which a difference must exceed zero"
    )
    appearance_tolerance: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="appearances closer than this share of the base model's count as equal",
    )
    diverging: float = Field(
        default=1.5, gt=1, description="loss above this multiple of the untrained loss diverges"
    )


class SweepSpec(_Frozen):
    """A sweep as a user writes it."""

    motions: tuple[str, ...] = Field(default=(), description="motion folders")
    recipe: str = Field(default="puppet", description="name of a recipe, or a .yaml file")
    base: str | None = Field(default=None, description="diffusers folder; null: the recipe's base")
    fixed: dict[str, Any] = Field(
        default_factory=dict, alias="set", description="dotted setting to value, in all trials"
    )
    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="dotted setting to values, all combinations"
    )
    random: RandomSearch | None = None
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="of the training")
    searcher: str = Field(default="listed", description="who picks the values of random settings")
    appearance: AppearanceFloor | None = Field(
        default=None, description="floor of every trial; null: the recipe's"
    )
    policy: PolicySettings | None = Field(
        default=None, description="null: every trial runs to its own end"
    )
    validation: Literal["trial", "actor"] = Field(
        default="trial", description="who scores: the trial itself, or an actor beside it"
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="trials at once; null: what the cluster has room for"
    )
    resources: TrialResources = TrialResources()
    retries: int = Field(
        default=2, ge=0, description="new attempts after a lost worker or node, for each trial"
    )
    stall_timeout_s: float = Field(
        default=3600.0,
        gt=0,
        allow_inf_nan=True,  # .inf: never
        description="seconds without a sign of progress after which a trial's process is killed",
    )

    @field_validator("searcher")
    @classmethod
    def _known_searcher(cls, value: str) -> str:
        if value in UNFIT_SEARCHERS:
            rule = f"{value} {UNFIT_SEARCHERS[value]}; take one of {', '.join(SEARCHERS)}"
            raise ValueError(rule)
        if value not in SEARCHERS:
            raise ValueError(f"is one of {', '.join(SEARCHERS)}")
        return value

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("lists every seed once")
        return seeds

    @field_validator("grid")
    @classmethod
    def _values(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for setting, values in grid.items():
            if not values:
                raise ValueError(f"{setting} has no values")
        return grid

    @model_validator(mode="after")
    def _each_setting_once(self) -> Self:
        drawn = self.random.settings if self.random is not None else {}
        places = [("set", self.fixed), ("grid", self.grid), ("random.settings", drawn)]
        named = [(setting, place) for place, settings in places for setting in settings]
        if self.appearance is not None:
            named.append(("validation.floor", "appearance"))
        for setting, place in named:
            if setting in OWN_KEYS:
                raise ValueError(f"{place}: {setting} has its own key, {OWN_KEYS[setting]}")
        for (one, here), (other, there) in itertools.combinations(named, 2):
            if overlap(one, other):
                raise ValueError(f"{one} in {here} and {other} in {there} exclude each other")
        if self.searcher != "listed" and self.random is None:
            raise ValueError(f"searcher {self.searcher} needs random settings to search in")
        choices = [name for name, values in drawn.items() if isinstance(values, ChoiceValue)]
        if self.searcher == "bayesopt" and choices:
            raise ValueError(f"searcher bayesopt knows only ranges, and {choices[0]} is a choice")
        return self


def load_spec(path: Path, motions: Iterable[str] = ()) -> SweepSpec:
    """Read a sweep file.

    Args:
        path: ``sweep.yaml``.
        motions: folders of the command line; they replace those of the file.

    Raises:
        ConfigError: naming the field, the rule and a good example.
    """
    values = read_mapping(path, f"for example with the line {EXAMPLES['grid']}")
    given = tuple(motions)
    return parse_spec(values | ({"motions": given} if given else {}), str(path))


def parse_spec(values: dict[str, Any], where: str = "sweep") -> SweepSpec:
    """Validate the content of a sweep file.

    Args:
        values: keys as in ``sweep.yaml``.
        where: the file, for messages.

    Raises:
        ConfigError: naming the field, the rule and a good example.
    """
    try:
        spec = SweepSpec.model_validate(values)
    except ValidationError as error:
        raise _explained(error, where) from None
    if not spec.motions:
        fix = f"for example {EXAMPLES['motions']}, or --motions clips/swinging-arms"
        raise ConfigError(f"{where}: motions", "a sweep needs at least one motion folder", fix)
    return spec


def _explained(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    field = ".".join(place)
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and len(place) == 1:
        known = ", ".join(EXAMPLES)
        return ConfigError(f"{where}: {field}", "there is no such key", f"known here: {known}")
    if first["type"] == "extra_forbidden":
        rule = "there is no such key"
    given = first.get("input")
    if not isinstance(given, dict | list | tuple | BaseModel) and first["type"] != "missing":
        rule = f"{rule}, got {given!r}"
    example = EXAMPLES.get(place[0], EXAMPLES["grid"]) if place else EXAMPLES["grid"]
    return ConfigError(f"{where}: {field}" if field else where, rule, f"for example {example}")
