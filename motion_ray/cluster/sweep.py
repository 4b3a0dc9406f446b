"""Many customizations at once on a cluster: coordinator (desk), workers (slots) and Ray Tune.

Tune decides which trial is next and which may end early; slots (Ray Train) do the work; the desk
stands between the two and writes everything down. What survives is the ledger and the run folders:
the same sweep started again goes on from them and asks nothing of Ray.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.tune
from ray.train import ControllerError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from motion_ray.cluster.background import Background
from motion_ray.cluster.desk import News, SweepDesk
from motion_ray.cluster.first_line import first_line
from motion_ray.cluster.fitting import ray_storage
from motion_ray.cluster.policy import PolicyScheduler
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.runs import Runs
from motion_ray.cluster.scoring import start_scorers
from motion_ray.cluster.search_plan import SearchPlan
from motion_ray.cluster.searchers import DeskSearcher
from motion_ray.cluster.slot_times import Start
from motion_ray.cluster.slots import Station, start_slot
from motion_ray.cluster.stalls import StallGuard
from motion_ray.cluster.trial_driver import IDENTITY, TrialDriver
from motion_ray.sweeps.spec import PolicySettings
from motion_ray.sweeps.trial import Trial

logger = logging.getLogger(__name__)

AHEAD = 1  # drivers that wait with their trial for a slot, so that no slot waits for a driver
UNLIMITED = -1  # trials that Tune may start; a searcher knows when to end
DRIVER_FAILURES = 5  # killed drivers of one trial
DRIVER_SHARE = 0.001
LEAVE_SECONDS = 5.0  # for slots to end by themselves


@dataclass(frozen=True)
class SweepPlan:
    """What is to run, and where.

    Attributes:
        trials: that are not over, in the order in which they should start.
        ledger: folder of the record; it knows these trials.
        runs: folder of the run folders; every node sees it.
        cache: folder of encoded clips and texts; every node sees it.
        scratch: path or URI for what Ray insists on writing; every node sees it.
        slots: trials at once.
        scorers: actors that score validations beside the training; 0: trials do it themselves.
        search: where settings come from that are picked as results come in; null: all are known.
        unasked: trials that the search has still to ask for.
        stall_seconds: without a sign of progress after which a trial's process is killed.
        mirror: URI that the run folders are copied to; null: every node sees ``runs``.
        retries: new attempts of a trial after losses.
        resources: of one trial.
        policy: when trials are ended early; null: never.
        store: path or URI that all trials publish into; null: each into one in its folder.
        by_name: whether trials run in folders of their motions' names alone; not with a policy.
    """

    trials: Sequence[Trial]
    ledger: str
    runs: Path
    cache: Path
    scratch: Path | str
    slots: int
    retries: int
    resources: WorkerResources
    policy: PolicySettings | None = None
    scorers: int = 0
    search: SearchPlan | None = None
    unasked: int = 0
    stall_seconds: float = math.inf
    mirror: str | None = None
    store: str | None = None
    by_name: bool = False


@dataclass(frozen=True)
class Standing:
    """How far a sweep is, as a whole.

    Attributes:
        over: every trial is over, or nothing can run any more.
        slots: how many have not ended.
        failure: why nothing can run any more; null if it can, or if all trials are over.
    """

    over: bool
    slots: int
    failure: str | None


class Conductor:
    """Keeps the slots and Ray Tune running; an actor beside the desk.

    Ray Train and Ray Tune block a thread each until they end, which a slot that waits for a lost
    node does not. Ending those threads means ending their process, and that must not be the
    script's.

    Args:
        plan: of the sweep.
        desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`.
    """

    def __init__(self, plan: SweepPlan, desk: Any) -> None:
        scorers = start_scorers(plan.scorers, plan.resources) or [None]
        self._scratch = f"{plan.scratch}/slots"
        self._stations = [
            Station(
                f"slot-{number:03d}",
                desk,
                plan.resources,
                str(plan.cache),
                scorers[number % len(scorers)],
            )
            for number in range(min(plan.slots, len(plan.trials) + plan.unasked))
        ]
        self._slots = [start_slot(station, self._scratch) for station in self._stations]
        self._tuner = Background(lambda: _tune(plan, desk), "ray-tune")
        self._guard = StallGuard(desk, plan.stall_seconds)

    def look(self) -> Standing:
        """How far everything is; called all the time, so it also looks for trials that hang."""
        self._guard.look()
        living = sum(not slot.over for slot in self._slots)
        if living and not self._tuner.over:
            self._start_again()
        failures = [each.failure for each in (self._tuner, *self._slots) if each.failure]
        over = self._tuner.over or not living
        hopeless = over and failures and (self._tuner.failure or not self._tuner.over)
        return Standing(over, living, first_line(failures[0]) if hopeless else None)

    def _start_again(self) -> None:
        """Start slots again that found no machine for long, as others did: one may come yet."""
        for number, slot in enumerate(self._slots):
            if slot.over and isinstance(slot.failure, ControllerError):
                logger.warning("%s waits for a machine again", self._stations[number].slot)
                self._slots[number] = start_slot(self._stations[number], self._scratch)


class SweepJob:
    """A sweep running on the connected cluster, seen from the submitting script.

    Args:
        plan: starts at once.

    Attributes:
        blind: a process of the sweep does not answer any more, and nothing is written down.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.blind = False
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        place = {"num_cpus": 0, "scheduling_strategy": here}
        desk = ray.remote(SweepDesk).options(**place)
        self._desk: Any = desk.remote(
            *(plan.ledger, str(plan.runs), plan.slots, plan.retries),
            store=plan.store,
            by_name=plan.by_name,
            stall_seconds=plan.stall_seconds,
            mirror=plan.mirror,
            configs={trial.identity: trial.config for trial in plan.trials},
        )
        self._conductor: Any = ray.remote(Conductor).options(**place).remote(plan, self._desk)
        self._standing = Standing(over=False, slots=plan.slots, failure=None)

    def wait(self, seconds: float) -> Sequence[News]:
        """Wait this long and return what happened meanwhile."""
        time.sleep(seconds)
        self._standing = self._ask(self._conductor, "look", default=self._standing)
        return self._ask(self._desk, "drain", default=[])

    @property
    def over(self) -> bool:
        """Whether every trial was over, or nothing could run any more, at the last look."""
        return self._standing.over or self.blind

    @property
    def failure(self) -> str | None:
        """Why nothing could run any more, at the last look."""
        return self._standing.failure

    def request_stop(self) -> None:
        """Ask every slot to end after the step it is in."""
        self._ask(self._desk, "close", default=None)

    def busy(self) -> int:
        """Slots that hold a trial."""
        return self._ask(self._desk, "busy", default=0)

    def idle_share(self) -> float:
        """Part of the slots' time so far that was not a trial's own work."""
        return self._ask(self._desk, "idle_share", default=1.0)

    def starts(self) -> Sequence[Start]:
        """How every trial so far came to its first step."""
        return self._ask(self._desk, "starts", default=[])

    def leave(self) -> None:
        """Let the slots go, and end what does not go by itself."""
        self.request_stop()
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._standing.slots and not self.blind and time.monotonic() < deadline:
            time.sleep(LEAVE_SECONDS / 20)
            self._standing = self._ask(self._conductor, "look", default=self._standing)
        ray.kill(self._conductor)

    def _ask(self, actor: Any, method: str, default: Any) -> Any:
        if self.blind:
            return default
        try:
            return ray.get(getattr(actor, method).remote())
        except ray.exceptions.RayError as error:
            self.blind = True
            self._standing = Standing(True, 0, f"a process of the sweep: {first_line(error)}")
            return default


def driver_share(cluster: Mapping[str, float]) -> dict[str, float]:
    """What a trial's driver holds: something that only the head node has.

    A driver with a part of a CPU would go anywhere, and take a whole core away from a worker that
    needs all of its node.

    Args:
        cluster: what ``ray.cluster_resources()`` returns.
    """
    name = "driver" if "driver" in cluster else "node:__internal_head__"
    return {name: DRIVER_SHARE}


def _tune(plan: SweepPlan, desk: Any) -> None:
    """Run every trial's driver; returns when all are over.

    Raises:
        Exception: what ended a driver for good. Its trial may be over all the same.
    """
    # No log files and no table on the screen: the desk's news have all of it, and Tune then warns
    # of the files it misses.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    driver = ray.tune.with_resources(
        ray.tune.with_parameters(TrialDriver, desk=desk), driver_share(ray.cluster_resources())
    )
    scheduler, runs = None, Runs(plan.runs, plan.mirror)
    if plan.policy is not None:
        scheduler = PolicyScheduler(plan.policy, plan.ledger, runs, desk)
    space: dict[str, Any] = {
        IDENTITY: ray.tune.grid_search([each.identity for each in plan.trials])
    }
    config = ray.tune.TuneConfig(
        max_concurrent_trials=plan.slots + AHEAD, reuse_actors=True, scheduler=scheduler
    )
    if plan.search is not None:
        # Nothing ahead: a trial that is picked later is picked knowing more.
        space, config.max_concurrent_trials = {}, plan.slots
        config.search_alg = DeskSearcher(plan.search.open(plan.ledger, runs), desk)
        config.num_samples = UNLIMITED
    grid = ray.tune.Tuner(
        driver,
        param_space=space,
        tune_config=config,
        run_config=ray.tune.RunConfig(
            name="tune",
            **ray_storage(str(plan.scratch)),
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=DRIVER_FAILURES),
        ),
    ).fit()
    if grid.errors:  # Tune itself only counts them
        raise grid.errors[0]
