"""Which trials a sweep has: all of them, or those that its searcher has asked for so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.checks import cluster_defaults
from motion_ray.cluster.search_plan import SearchPlan, require_searcher
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.search import recall
from motion_ray.sweeps.search_log import SearchLog
from motion_ray.sweeps.spec import SweepSpec
from motion_ray.sweeps.studies import Study, list_studies
from motion_ray.sweeps.trial import Trial
from motion_ray.sweeps.trials import list_trials


@dataclass(frozen=True)
class KnownTrials:
    """What is known of a sweep's trials.

    Attributes:
        trials: in the order in which they start.
        unasked: how many a searcher may still think of.
    """

    trials: Sequence[Trial]
    unasked: int = 0


class Workload:
    """The trials of a sweep.

    Args:
        spec: of the sweep.
        here: folder that its paths are relative to.

    Raises:
        MotionRayError: a setting, a folder or the base model is wrong, or the searcher's package
            is not installed.
    """

    def __init__(self, spec: SweepSpec, here: Path) -> None:
        defaults = cluster_defaults(spec.recipe)
        self._plan = SearchPlan(spec, here, defaults)
        self._listed: Sequence[Trial] = ()
        self._studies: Sequence[Study] = ()
        if spec.searcher == "listed":
            self._listed = list_trials(spec, resolve=self._plan.resolve, defaults=defaults)
            return
        require_searcher(spec.searcher)
        self._maker = self._plan.maker()
        self._studies = list_studies(self._maker)

    @property
    def examples(self) -> Sequence[Trial]:
        """Trials that have every motion, base and grid point of the sweep: for checks."""
        return self._listed or [study.example for study in self._studies]

    @property
    def most(self) -> int:
        """How many trials there can be."""
        return len(self._listed) + sum(study.samples for study in self._studies)

    def known(self, ledger: Ledger) -> KnownTrials:
        """What is known now.

        Raises:
            LedgerError: the record cannot be read.
        """
        if not self._studies:
            return KnownTrials(self._listed)
        records = SearchLog(ledger.uri).records(self._studies).values()
        return KnownTrials(recall(self._maker, records), sum(each.unasked for each in records))

    def search(self) -> SearchPlan | None:
        """Where further trials come from."""
        return self._plan if self._studies else None
