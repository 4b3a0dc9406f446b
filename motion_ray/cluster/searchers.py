"""Ray Tune's searchers behind :class:`motion_ray.sweeps.search.Suggester`, and a search as Tune's.

Tune's own loop would tell a searcher of results as they pass by, and keep its state in a pickle.
Here both come from the record of the sweep, so Tune is given a searcher that only asks
:class:`~motion_ray.sweeps.search.Search` for the next trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
import ray.tune
from ray.tune.search import Searcher, create_searcher

from motion_ray.cluster.patience import Patience
from motion_ray.cluster.search_plan import KINDS
from motion_ray.cluster.trial_driver import IDENTITY
from motion_ray.errors import ConfigError
from motion_ray.sweeps.distributions import ChoiceValue
from motion_ray.sweeps.search import Search
from motion_ray.sweeps.studies import Coordinate, Study
from motion_ray.sweeps.trial import Trial

VALUE = "remaining"  # what searchers lower, in Tune's words the metric


class TuneSuggester:
    """One of Ray Tune's searchers, for one search.

    Args:
        study: says which, with which seed, and in what range.

    Raises:
        ConfigError: the searcher cannot search in such a range.
    """

    def __init__(self, study: Study) -> None:
        kind = KINDS[study.searcher]
        self._names = [f"x{number}" for number in range(len(study.space))]
        # Declared as the one kind that this module never asks for.
        self._searcher: Any = create_searcher(
            study.searcher,
            metric=VALUE,
            mode="min",
            **{kind.seed: study.random_seed},
            **kind.options,
        )
        space = {
            name: ray.tune.choice(list(range(len(values.values))))
            if isinstance(values, ChoiceValue)
            else ray.tune.uniform(0.0, 1.0)
            for name, values in zip(self._names, study.space.values(), strict=True)
        }
        try:
            self._searcher.set_search_properties(VALUE, "min", space)
        except ValueError as fault:
            raise ConfigError(
                f"searcher: {study.searcher}",
                f"cannot search in these settings: {fault}",
                "for example searcher: optuna",
            ) from fault

    def suggest(self, number: int) -> Sequence[Coordinate] | None:
        """See :class:`motion_ray.sweeps.search.Suggester`."""
        found = self._searcher.suggest(str(number))
        if not isinstance(found, Mapping):  # null, or Tune's word for a searcher that has finished
            return None
        return [found[name] for name in self._names]

    def tell(self, number: int, value: float) -> None:
        """See :class:`motion_ray.sweeps.search.Suggester`."""
        # Some searchers take their budget from the step, so every result is of the same one.
        self._searcher.on_trial_complete(str(number), {VALUE: value, "training_iteration": 1})


class DeskSearcher(Searcher):
    """Gives Ray Tune the next trial of a search. It has no state that Tune should keep.

    Args:
        search: what it asks.
        desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`, which tells the watcher.
        clock: seconds, monotonic.
    """

    def __init__(
        self, search: Search, desk: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._search, self._desk = search, desk
        self._untold: Trial | None = None  # asked for, and the desk does not know it yet
        self._patience = Patience("no trial can be picked now", clock)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See :class:`ray.tune.search.Searcher`; nothing now while the storage fails.

        Raises:
            LedgerError: the record has not been usable for
                :data:`~motion_ray.cluster.patience.PATIENCE_SECONDS`.
            MirrorError: the same of a trial's mirror.
        """
        with self._patience:
            return self._next()
        return None

    def _next(self) -> dict[str, Any] | str | None:
        trial = self._search.next() if self._untold is None else self._untold
        match trial:
            case "done":
                return Searcher.FINISHED
            case "later":
                return None
            case _:
                self._untold = trial
                ray.get(self._desk.add.remote(trial))
                self._untold = None
                return {IDENTITY: trial.identity}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: results are read from the record when the next trial is asked for."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""
