"""Many customizations at once on a connected cluster: a desk, slots, and Ray Tune above them.

Tune decides which trial is next and which may end early; slots (Ray Train) do the work; the desk
stands between the two and writes everything down. What survives is the ledger and the run folders:
the same sweep started again goes on from them and asks nothing of Ray.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from motion_ray.cluster.background import Background
from motion_ray.cluster.desk import News, SweepDesk
from motion_ray.cluster.policy import PolicyScheduler
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.slot_times import Start
from motion_ray.cluster.slots import Station, start_slot
from motion_ray.cluster.trial_driver import IDENTITY, TrialDriver
from motion_ray.sweeps.spec import PolicySettings

logger = logging.getLogger(__name__)

AHEAD = 1  # drivers that wait with their trial for a slot, so that no slot waits for a driver
DRIVER_FAILURES = 5  # killed drivers of one trial
DRIVER_SHARE = 0.001
LEAVE_SECONDS = 5.0  # for slots to end by themselves


@dataclass(frozen=True)
class SweepPlan:
    """What is to run, and where.

    Attributes:
        identities: of the trials that are not over, in the order in which they should start.
        ledger: folder of the record; it knows these trials.
        runs: folder of the run folders; every node sees it.
        cache: folder of encoded clips and texts; every node sees it.
        scratch: folder for what Ray insists on writing.
        slots: trials at once.
        retries: new attempts of a trial after losses.
        resources: of one trial.
        policy: when trials are ended early; null: never.
    """

    identities: Sequence[str]
    ledger: str
    runs: Path
    cache: Path
    scratch: Path
    slots: int
    retries: int
    resources: WorkerResources
    policy: PolicySettings | None = None


class SweepJob:
    """A sweep running on the connected cluster, seen from the submitting script.

    Args:
        plan: starts at once.

    Attributes:
        blind: the desk does not answer any more, and nothing is written down any more.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.blind = False
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(SweepDesk).options(num_cpus=0, scheduling_strategy=here)
        self._desk: Any = desk.remote(plan.ledger, str(plan.runs), plan.slots, plan.retries)
        self._slots = [
            start_slot(
                Station(f"slot-{number:03d}", self._desk, plan.resources, str(plan.cache)),
                plan.scratch / "slots",
            )
            for number in range(min(plan.slots, len(plan.identities)))
        ]
        self._tuner = Background(lambda: _tune(plan, self._desk), "ray-tune")

    def wait(self, seconds: float) -> Sequence[News]:
        """Wait this long, or until the sweep is over, and return what happened meanwhile."""
        self._tuner.wait(seconds)
        return self._ask("drain", default=[])

    @property
    def over(self) -> bool:
        """Whether every trial is over, or nothing can run any more."""
        return self._tuner.over or self.blind or all(slot.over for slot in self._slots)

    def request_stop(self) -> None:
        """Ask every slot to end after the step it is in."""
        self._ask("close", default=None)

    def busy(self) -> int:
        """Slots that hold a trial."""
        return self._ask("busy", default=0)

    def idle_share(self) -> float:
        """Part of the slots' time so far that was not a trial's own work."""
        return self._ask("idle_share", default=1.0)

    def starts(self) -> Sequence[Start]:
        """How every trial so far came to its first step."""
        return self._ask("starts", default=[])

    def leave(self) -> None:
        """Let the slots go; what does not go by itself goes with the connection."""
        self._ask("close", default=None)
        deadline = time.monotonic() + LEAVE_SECONDS
        for slot in self._slots:
            slot.wait(max(0.0, deadline - time.monotonic()))

    def failure(self) -> Exception | None:
        """Why nothing can run any more; null if it can, or if all trials are over."""
        if self._tuner.over:
            return self._tuner.failure
        return next((slot.failure for slot in self._slots if slot.over and slot.failure), None)

    def _ask(self, method: str, default: Any) -> Any:
        if self.blind:
            return default
        try:
            return ray.get(getattr(self._desk, method).remote())
        except ray.exceptions.RayError as error:
            self.blind = True
            logger.warning("the sweep's desk is gone: %s", next(iter(str(error).splitlines()), ""))
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
    """Run every trial's driver; returns when all are over."""
    # No log files and no table on the screen: the desk's news have all of it, and Tune then warns
    # of the files it misses.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    driver = ray.tune.with_resources(
        ray.tune.with_parameters(TrialDriver, desk=desk), driver_share(ray.cluster_resources())
    )
    scheduler = None
    if plan.policy is not None:
        scheduler = PolicyScheduler(plan.policy, plan.ledger, plan.runs, desk)
    ray.tune.Tuner(
        driver,
        param_space={IDENTITY: ray.tune.grid_search(list(plan.identities))},
        tune_config=ray.tune.TuneConfig(
            max_concurrent_trials=plan.slots + AHEAD, reuse_actors=True, scheduler=scheduler
        ),
        run_config=ray.tune.RunConfig(
            name="tune",
            storage_path=str(plan.scratch),
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=DRIVER_FAILURES),
        ),
    ).fit()
