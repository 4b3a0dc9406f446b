"""The searches of a sweep whose settings a searcher picks.

Every motion, grid point and seed is a search of its own: what is best for one motion says little
about another. Its name is the hash of everything that decides it, so that a search is found again
by the same sweep and never mixed up with one over other data or another range.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from motion_ray.manifest import canonical_json
from motion_ray.sweeps.distributions import ChoiceValue, Distribution
from motion_ray.sweeps.trial import Trial
from motion_ray.sweeps.trials import TrialMaker

FORMAT = "motion_ray.study/1"
LAST_SHARE = math.nextafter(1.0, 0.0)  # the largest share below 1

Coordinate = float | int  # share of the probability, or the number of a choice


@dataclass(frozen=True)
class Study:
    """One search.

    Attributes:
        identity: sha256 over the searcher, its seed, the range, and config and data behind it.
        motion: its folder, as the sweep names it.
        point: of the grid, dotted name to value.
        seed: of the trainings.
        searcher: name, as Ray Tune has it.
        space: the settings that are searched in, dotted name to values.
        samples: trials that it may ask for.
        example: what it would run with the recipe's own values; never run.
    """

    identity: str
    motion: str
    point: Mapping[str, Any]
    seed: int
    searcher: str
    space: Mapping[str, Distribution]
    samples: int
    example: Trial

    @property
    def random_seed(self) -> int:
        """Of the searcher, 0 to 2**31 - 1: another one for every search."""
        return int(self.identity[:8], 16) >> 1

    def settings(self, coordinates: Sequence[Coordinate]) -> dict[str, Any]:
        """The settings at a place of the space, one coordinate for each in its order.

        A searcher sees a range as shares of its probability, 0 to 1, and a choice as a number: so
        one that knows neither logarithms nor texts can search in all of them.
        """
        pairs = zip(self.space.items(), coordinates, strict=True)
        return {name: _value(distribution, place) for (name, distribution), place in pairs}


def list_studies(maker: TrialMaker) -> tuple[Study, ...]:
    """The searches of a sweep, in the order in which each gets its next trial.

    Raises:
        ConfigError: an unknown setting or a wrong value.
        DataError: a motion or regularization folder cannot be used.
        BaseModelError: the base model cannot be used.
    """
    spec, search = maker.spec, maker.spec.random
    if search is None:
        return ()
    return tuple(
        _study(maker, motion, point, seed)
        for point in maker.grid()
        for seed in spec.seeds
        for motion in spec.motions
    )


def _study(maker: TrialMaker, motion: str, point: Mapping[str, Any], seed: int) -> Study:
    spec, search = maker.spec, maker.spec.random
    assert search is not None
    example = maker.make(motion, point, seed)
    content = {
        "format": FORMAT,
        "searcher": spec.searcher,
        "seed": search.seed,
        # A list: with another order of the settings the same coordinates mean something else.
        "space": [[name, each.model_dump(mode="json")] for name, each in search.settings.items()],
        "around": example.identity,
    }
    return Study(
        identity=hashlib.sha256(canonical_json(content).encode()).hexdigest(),
        motion=motion,
        point=point,
        seed=seed,
        searcher=spec.searcher,
        space=search.settings,
        samples=search.samples,
        example=example,
    )


def _value(distribution: Distribution, coordinate: Coordinate) -> Any:
    if isinstance(distribution, ChoiceValue):
        return distribution.values[int(coordinate)]
    return distribution.at(min(max(float(coordinate), 0.0), LAST_SHARE))
