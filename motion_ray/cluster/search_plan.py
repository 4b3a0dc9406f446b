"""What a searcher is to search for, and which of Ray Tune's searchers can be used.

Apart from what calls them (:mod:`motion_ray.cluster.searchers`): the submitting script checks this
before it imports Ray.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motion_ray.cluster.paths import with_absolute_paths
from motion_ray.cluster.runs import Runs
from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.search import Search
from motion_ray.sweeps.search_log import SearchLog
from motion_ray.sweeps.spec import SweepSpec
from motion_ray.sweeps.studies import list_studies
from motion_ray.sweeps.trials import TrialMaker


@dataclass(frozen=True)
class SearcherKind:
    """How one of Tune's searchers is made.

    Attributes:
        package: that it needs, as it is imported.
        install: what to give pip.
        seed: argument that takes the seed.
        options: further arguments.
    """

    package: str
    install: str
    seed: str
    options: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    "optuna": SearcherKind("optuna", "-e .[search]", "seed"),
    "hyperopt": SearcherKind("hyperopt", "hyperopt", "random_state_seed"),
    # A duplicate is cheap here: a trial that has run is not run again.
    "bayesopt": SearcherKind(
        "bayes_opt", "bayesian-optimization==1.4.3", "random_state", {"skip_duplicate": False}
    ),
    # It would decline above eight at once; how many run at once, slots decide.
    "hebo": SearcherKind("hebo", "HEBO", "random_state_seed", {"max_concurrent": 100_000}),
}


def require_searcher(name: str) -> None:
    """Refuse a searcher whose package is not here.

    Raises:
        ConfigError: naming the package and how to get it.
    """
    kind = KINDS[name]
    if importlib.util.find_spec(kind.package) is None:
        raise ConfigError(
            f"searcher: {name}",
            f"needs the package {kind.package}, which is not installed",
            f"for example on every machine: pip install -c constraints.txt {kind.install}",
        )


@dataclass(frozen=True)
class SearchPlan:
    """What a searcher is to search for; travels to the process that keeps it.

    Attributes:
        spec: of the sweep.
        here: folder that the paths of the sweep are relative to.
        defaults: dotted settings below those of the sweep.
    """

    spec: SweepSpec
    here: Path
    defaults: Mapping[str, Any]

    def maker(self) -> TrialMaker:
        """Makes the trials of the sweep.

        Raises:
            MotionRayError: a folder or setting is wrong.
        """
        return TrialMaker(self.spec, resolve=self.resolve, defaults=self.defaults)

    def resolve(self, config: CustomizationConfig) -> CustomizationConfig:
        """The config of a trial with absolute paths."""
        return with_absolute_paths(config, self.here)

    def open(self, ledger: str, runs: Runs) -> Search:
        """The search as the record has it.

        Args:
            ledger: folder of the record.
            runs: the run folders.

        Raises:
            MotionRayError: see :class:`motion_ray.sweeps.search.Search`.
        """
        from motion_ray.cluster.searchers import TuneSuggester  # imports ray

        maker = self.maker()
        return Search(
            maker,
            list_studies(maker),
            Ledger(ledger),
            SearchLog(ledger),
            TuneSuggester,
            runs.metrics,
        )
