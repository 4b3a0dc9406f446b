"""The list of trials that a sweep asks for."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError
from motion_ray.recipes import load_config
from motion_ray.store import check_name
from motion_ray.sweeps.distributions import draw
from motion_ray.sweeps.dotted import look_up, nested, overlap
from motion_ray.sweeps.identity import ContentHashes
from motion_ray.sweeps.spec import SweepSpec
from motion_ray.sweeps.trial import Trial

log = logging.getLogger(__name__)

Resolve = Callable[[CustomizationConfig], CustomizationConfig]


def list_trials(
    spec: SweepSpec,
    *,
    resolve: Resolve | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Trial, ...]:
    """All trials of a sweep that needs no searcher, in the order in which they should start.

    Every motion gets its first trial before any gets its second, so that a sweep that is cut short
    has something of each. What several samples drew alike, e.g. from a few choices, is one trial.

    Args:
        spec: the sweep.
        resolve: makes the paths of a config absolute.
        defaults: dotted settings below those of the sweep, e.g. ``{"engine.name": "deepspeed"}``.

    Raises:
        ConfigError: an unknown setting or a wrong value, two folders with one name, two values of
            the grid that give the same trial, or a searcher.
        DataError: a motion or regularization folder cannot be used.
        BaseModelError: the base model cannot be used.
    """
    if spec.searcher != "listed":
        rule = f"{spec.searcher} picks trials as results come in, so they cannot be listed"
        raise ConfigError("searcher", rule, "for example searcher: listed")
    maker = TrialMaker(spec, resolve=resolve, defaults=defaults)
    kept: dict[str, tuple[int, Trial]] = {}
    again = 0
    for sample, trial in maker.listed():
        first, twin = kept.setdefault(trial.identity, (sample, trial))
        if twin is trial:
            continue
        if sample == first:
            rule = f"{twin.label!r} and {trial.label!r} of {trial.motion} are the same trial"
            raise ConfigError("sweep", rule, "list every value once")
        again += 1
    if again:
        log.warning("%d of %d trials are drawn again and run once", again, again + len(kept))
    return tuple(trial for _, trial in kept.values())


class TrialMaker:
    """Makes the trials of a sweep; hashes every folder once.

    Args:
        spec: the sweep.
        resolve: makes the paths of a config absolute.
        defaults: dotted settings below those of the sweep.

    Raises:
        ConfigError: an unknown recipe, or two motion folders with one name.
        DataError: a motion folder cannot be used.
    """

    def __init__(
        self,
        spec: SweepSpec,
        *,
        resolve: Resolve | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        own = [*spec.fixed, *spec.grid, *(spec.random.settings if spec.random else ())]
        self._defaults = {
            name: value
            for name, value in (defaults or {}).items()
            if not any(overlap(name, other) for other in own)
        }
        self._resolve = resolve or _as_it_is
        self._content = ContentHashes()
        self._bases = {motion: self._base_config(motion) for motion in spec.motions}
        self._names = self._checked_names()

    def listed(self) -> Iterator[tuple[int, Trial]]:
        """The product of grid, samples, seeds and motions, each with its sample from 0; motions
        change fastest.

        Raises:
            ValueError: the sweep has a searcher, which picks settings as results come in.
        """
        if self.spec.searcher != "listed":
            raise ValueError(f"searcher {self.spec.searcher} picks the trials, use make()")
        for sample, settings in self._points():
            for seed in self.spec.seeds:
                for motion in self.spec.motions:
                    yield sample, self.make(motion, settings, seed)

    def make(self, motion: str, settings: Mapping[str, Any], seed: int) -> Trial:
        """One trial.

        Args:
            motion: one of the folders of the sweep, as written there.
            settings: dotted name to value: a grid point, and what a searcher suggests.
            seed: of the training.

        Raises:
            ConfigError: an unknown setting or a wrong value.
        """
        changes = nested({**settings, "seed": seed})
        config = self._resolve(self._bases[motion].replace(changes))
        resolved = config.model_dump(mode="json")
        return Trial(
            identity=self._content.trial(config),
            motion=self._names[motion],
            settings={name: look_up(resolved, name) for name in [*settings, "seed"]},
            config=config,
        )

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the listed values; the last setting changes fastest."""
        names = list(self.spec.grid)
        products = itertools.product(*self.spec.grid.values())
        return [dict(zip(names, values, strict=True)) for values in products]

    def _points(self) -> Iterator[tuple[int, dict[str, Any]]]:
        search = self.spec.random
        for sample in range(search.samples if search is not None else 1):
            settings = search.settings.items() if search is not None else ()
            seed = search.seed if search is not None else 0
            drawn = {name: draw(values, seed, name, sample) for name, values in settings}
            for point in self.grid():
                yield sample, point | drawn

    def _base_config(self, motion: str) -> CustomizationConfig:
        spec = self.spec
        config = load_config(spec.recipe, base=spec.base, motion=motion)
        changes = nested(self._defaults | spec.fixed)
        if spec.appearance is not None:
            floor = {"validation": {"floor": spec.appearance.model_dump(mode="json")}}
            config = config.replace(floor)
        return config.replace(changes)

    def _checked_names(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for motion, config in self._bases.items():
            config = self._resolve(config)
            name = config.name or self._content.motion(config.motion).name
            check_name(name)
            if name in names.values():
                rule = f"two motions are called {name!r}"
                fix = f"give each folder a motion.yaml with its own name, e.g. name: {name}-2"
                raise ConfigError(f"motions: {motion}", rule, fix)
            names[motion] = name
        return names


def _as_it_is(config: CustomizationConfig) -> CustomizationConfig:
    return config
