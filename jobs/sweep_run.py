"""The submitting script's loop of a sweep: show what the desk tells, pass a stop request on."""

from __future__ import annotations

import sys

import ray

from jobs.signals import StopSignals
from jobs.sweep import Work
from jobs.sweep_folders import SweepFolders
from jobs.sweep_view import SweepView
from jobs.sweep_watch import watch
from motion_ray.cluster.resources import WorkerResources, choose_resources, count_workers
from motion_ray.cluster.scoring import SLOTS_EACH
from motion_ray.cluster.sweep import SweepJob, SweepPlan
from motion_ray.errors import ConfigError
from motion_ray.sweeps.spec import SweepSpec


def run_trials(work: Work, folders: SweepFolders, signals: StopSignals, view: SweepView) -> None:
    """Run trials on the connected cluster until they are over or a stop is asked for.

    Raises:
        ConfigError: the cluster cannot hold one.
    """
    signals.install()  # ray.init has put its own in their place
    spec = work.spec
    threads = [trial.config.engine.threads for trial in work.waiting]
    resources = trial_resources(spec, work.device, max((each or 0 for each in threads), default=0))
    slots, scorers = share_places(work, count_workers(ray.nodes(), resources), resources)
    plan = SweepPlan(
        trials=work.waiting,
        ledger=folders.ledger,
        runs=folders.runs.work,
        cache=folders.cache,
        scratch=folders.scratch,
        slots=slots,
        retries=spec.retries,
        resources=resources,
        policy=spec.policy,
        scorers=scorers,
        search=work.search,
        unasked=work.unasked,
        stall_seconds=spec.stall_timeout_s,
        mirror=folders.runs.mirror,
    )
    view.expect(plan.slots)
    job = SweepJob(plan)
    try:
        with view:
            watch(job, signals, view.show)
        view.summary(job.starts(), job.idle_share())
    finally:
        job.leave()
    if job.failure is not None and signals.received is None:
        print(f"error: the sweep cannot go on: {job.failure}", file=sys.stderr)


def share_places(work: Work, places: int, resources: WorkerResources) -> tuple[int, int]:
    """How many places are slots for trials, and how many scorers of validations.

    Args:
        work: what is left of the sweep.
        places: that the cluster has room for.
        resources: of a place.

    Raises:
        ConfigError: there are too few.
    """
    spec = work.spec
    # A searcher may pick any floor, so it is expected to.
    floors = [trial.config.validation.floor is not None for trial in work.waiting]
    beside = spec.validation == "actor" and (work.unasked > 0 or any(floors))
    slots = min(spec.concurrency or places, len(work.waiting) + work.unasked)
    scorers = max(1, round(slots / SLOTS_EACH)) if beside else 0
    if spec.concurrency is None:
        slots = min(slots, places - scorers)
    if slots < 1:
        needed = f"a trial and a scorer ({resources} each)" if beside else f"a trial ({resources})"
        raise ConfigError(
            "resources",
            f"the nodes have no room for {needed}",
            "ask for less, e.g. --resources gpu=0,cpu=1, or set concurrency if an autoscaler "
            "brings nodes",
        )
    return slots, scorers


def trial_resources(spec: SweepSpec, device: str, threads: int = 0) -> WorkerResources:
    """What a trial asks for on the connected cluster.

    Args:
        spec: its resources; no GPU there means none is used.
        device: ``auto`` takes GPUs if there are any; ``gpu`` also waits for an autoscaler.
        threads: the most that a trial's ``engine.threads`` asks for; 0: none asks.

    Raises:
        ConfigError: no node has a CPU core to give, or fewer are asked for than a trial uses.
    """
    wanted = "cpu" if spec.resources.gpu == 0 else device
    found = choose_resources(ray.nodes(), wanted, threads or None)  # pyright: ignore[reportArgumentType]
    if spec.resources.cpu is not None:
        cpus = spec.resources.cpu
    elif threads:
        cpus = found.cpus
    elif found.device == "gpu":  # a part of a GPU goes with that part of its cores
        cpus = max(1, int(found.cpus * min(1, spec.resources.gpu)))
    else:  # two trials on two cores are done sooner than one on both, twice
        cpus = 1
    if threads > cpus:
        rule = f"a trial holds {cpus:g} cores and engine.threads is {threads}"
        raise ConfigError("resources.cpu", rule, f"for example cpu: {threads}")
    return WorkerResources(found.device, cpus, spec.resources.gpu)
