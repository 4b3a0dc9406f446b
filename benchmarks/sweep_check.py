"""A real sweep against the simulator's idea of it.

A few means are fitted to the record of the real one: a step, a validation, and what a start and an
end cost, for the first trial of a process and for the next. The simulator gets these, the steps
that each trial took and the number of slots, but no trial's own time. How far it is off in the time
of the whole sweep says how far its model can be believed.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.sweep_simulation import Simulation, Site, Work
from motion_ray.cluster.runs import run_folder
from motion_ray.customization.run import RunFolder
from motion_ray.errors import DataError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial


@dataclass(frozen=True)
class Observed:
    """A trial of the real sweep that went through in one attempt.

    Attributes:
        trial: what was asked for.
        slot: where it ran.
        begun: seconds since 1970.
        ended: seconds since 1970.
        steps: taken.
        step_seconds: of all its steps together.
        validations: how many.
        validation_seconds: of all of them together.
    """

    trial: Trial
    slot: str
    begun: float
    ended: float
    steps: int
    step_seconds: float
    validations: int
    validation_seconds: float

    @property
    def overhead(self) -> float:
        """Seconds of the attempt that were neither steps nor validations."""
        return self.ended - self.begun - self.step_seconds - self.validation_seconds


@dataclass(frozen=True)
class Comparison:
    """The real sweep and the simulated one, in seconds.

    Attributes:
        trials: compared.
        site: what was fitted.
        step: seconds of one, fitted.
        real: from the first start to the last result.
        simulated: the same.
    """

    trials: int
    site: Site
    step: float
    real: float
    simulated: float

    def table(self) -> Table:
        """For the terminal."""
        title = f"{self.trials} trials in {self.site.slots} slots, seconds"
        table = Table("", "real", "simulated", "simulated / real", title=title)
        ratio = f"{self.simulated / self.real:.3f}"
        table.add_row(
            "first start to last result", f"{self.real:.1f}", f"{self.simulated:.1f}", ratio
        )
        site = self.site
        table.caption = (
            f"fitted: step {self.step:.3f}, validation {site.validation_seconds:.2f}, "
            f"first trial of a process {site.cold_seconds:.1f}, next {site.warm_seconds:.1f}"
        )
        return table


def compare(root: Path) -> Comparison:
    """Simulate a sweep that was really run.

    Args:
        root: its ``--out`` folder.

    Raises:
        DataError: fewer than two trials went through in one attempt.
    """
    seen = observe(root)
    if len(seen) < 2:
        fix = "name the --out folder of a sweep that has finished"
        raise DataError(root, "holds no two trials that finished in one attempt", fix)
    steps = sum(each.steps for each in seen)
    step = sum(each.step_seconds for each in seen) / max(1, steps)
    site = fit(seen)
    works = [Work(each.trial, each.steps, step) for each in seen]
    simulation = Simulation(works, site)
    account = simulation.run()
    simulation.forget()
    return Comparison(
        trials=len(seen),
        site=site,
        step=step,
        real=max(each.ended for each in seen) - min(each.begun for each in seen),
        simulated=account.ended,
    )


def observe(root: Path) -> list[Observed]:
    """Finished trials of a real sweep, in the order in which they began."""
    ledger, found = Ledger(root / "ledger"), []
    for identity, status in ledger.statuses().items():
        trial = ledger.trials()[identity]
        history = ledger.history(identity)
        if status.state is not TrialState.FINISHED or len(history) != 2:
            continue
        metrics = RunFolder(run_folder(root / "runs", trial)).read_metrics()
        steps = [line["seconds"] for line in metrics if line["event"] == "step"]
        scored = [line["seconds"] for line in metrics if line["event"] == "validation"]
        begun, ended = history
        slot, start = begun.where.rpartition(" (")[0], begun.at
        found.append(
            Observed(trial, slot, start, ended.at, len(steps), sum(steps), len(scored), sum(scored))
        )
    return sorted(found, key=lambda each: each.begun)


def fit(seen: Sequence[Observed]) -> Site:
    """The site that a sweep ran on, as far as means can say."""
    slots: dict[str, list[Observed]] = defaultdict(list)
    for each in seen:
        slots[each.slot].append(each)
    begun = seen[0].begun
    cold = [first.begun - begun + first.overhead for first, *_ in slots.values()]
    pairs = [pair for trials in slots.values() for pair in itertools.pairwise(trials)]
    warm = [later.begun - one.ended + later.overhead for one, later in pairs]
    validations = sum(each.validations for each in seen)
    return Site(
        slots=len(slots),
        per_node=1,
        cold_seconds=statistics.fmean(cold),
        warm_seconds=statistics.fmean(warm) if warm else 0.0,
        validation_seconds=sum(each.validation_seconds for each in seen) / max(1, validations),
        save_seconds=0.0,
        publish_seconds=0.0,
    )
