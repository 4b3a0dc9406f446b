"""``python -m jobs.customize`` for many trials: check them, run them, say what came of it.

    python -m jobs.customize --motions clips/a clips/b --sweep sweep.yaml --out sweeps/night-1

Run the same command again to resume. What is finished is never run again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.checks import check_configs
from jobs.signals import StopSignals
from jobs.sweep_folders import SweepFolders, sweep_folders
from jobs.sweep_trials import KnownTrials, Workload
from jobs.sweep_view import SweepView
from motion_ray.cluster.runs import settle_finished
from motion_ray.cluster.search_plan import SearchPlan
from motion_ray.config import set_path
from motion_ray.errors import ConfigError
from motion_ray.store import DeltaStore
from motion_ray.sweeps.dotted import look_up
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.results import publish_results
from motion_ray.sweeps.spec import SweepSpec, load_spec, parse_spec
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial


@dataclass(frozen=True)
class Work:
    """What is left of a sweep.

    Attributes:
        spec: the sweep.
        device: ``auto`` takes GPUs if there are any; ``gpu`` also waits for an autoscaler.
        waiting: trials that are left, in order.
        search: where further trials come from; null: there are none.
        unasked: how many of those.
    """

    spec: SweepSpec
    device: str
    waiting: Sequence[Trial]
    search: SearchPlan | None
    unasked: int


def run_sweep(args: argparse.Namespace, signals: StopSignals) -> int:
    """Run a command line that asks for many trials; returns the exit code.

    Raises:
        MotionRayError: bad input; nothing was run.
    """
    here = Path.cwd()
    spec = read_spec(args)
    folders = sweep_folders(args.out, args.store, here, args.work)
    check_validation(spec, folders)
    workload = Workload(spec, here)
    check_policy(spec, workload.examples)
    check_configs(trial.config for trial in workload.examples)
    with folders.held():
        ledger = Ledger(folders.ledger)
        known = workload.known(ledger)
        waiting = open_record(ledger, folders, known.trials, args.retry_failed)
        left = len(waiting) + known.unasked
        print(f"sweep of {workload.most} trials, {left} to run, in {folders.shown}", flush=True)
        if left and signals.received is None:
            work = Work(spec, args.device, waiting, workload.search(), known.unasked)
            view = SweepView(
                known.trials,
                ledger.statuses(),
                folders.log,
                args.plain,
                known.unasked,
                name=folders.name,
            )
            _run(args, work, folders, signals, view)
        return conclude(ledger, workload.known(ledger), folders, signals)


def read_spec(args: argparse.Namespace) -> SweepSpec:
    """The sweep that a command line asks for: the file, and what replaces parts of it.

    Raises:
        ConfigError: naming what is wrong.
    """
    motions = [*(args.motions or ()), *([args.motion] if args.motion else ())]
    changes: dict[str, Any] = {}
    if args.recipe is not None:
        changes["recipe"] = args.recipe
    if args.base is not None:
        changes["base"] = args.base
    if args.sweep is None:
        values: dict[str, Any] = {"motions": motions}
    else:
        values = load_spec(Path(args.sweep), motions).model_dump(mode="json", by_alias=True)
    if args.resources is not None:
        named = parse_resources(args.resources)
        changes["resources"] = {**values.get("resources", {}), **named}
    fixed = dict(values.get("set", {}))
    for assignment in args.set:
        path, _, _ = assignment.partition("=")
        fixed[path.strip()] = look_up(set_path({}, assignment), path.strip())
    spec = parse_spec(values | changes | {"set": fixed}, args.sweep or "command line")
    if args.device == "gpu" and spec.resources.gpu == 0:
        raise ConfigError("--device gpu", "contradicts resources of no GPU", "e.g. gpu: 1")
    if spec.recipe.endswith((".yaml", ".yml")):  # read again by a process that is elsewhere
        spec = spec.model_copy(update={"recipe": str(Path.cwd() / Path(spec.recipe).expanduser())})
    return spec


def parse_resources(text: str) -> dict[str, float]:
    """``gpu=0.5,cpu=2`` as a mapping.

    Raises:
        ConfigError: it is not of this form, or names one twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            value = float(amount)
        except ValueError:
            rule = "is name=number, joined by commas"
            raise ConfigError(f"--resources {text}", rule, "for example gpu=0.5,cpu=2") from None
        if name.strip() in found:
            rule = f"names {name.strip()} twice"
            raise ConfigError(f"--resources {text}", rule, "for example gpu=0.5,cpu=2")
        found[name.strip()] = value
    return found


def check_validation(spec: SweepSpec, folders: SweepFolders) -> None:
    """Refuse scorers that could not see what they are to score.

    Raises:
        ConfigError: the trials' folders are on their own machines.
    """
    if spec.validation == "actor" and folders.uri is not None:
        raise ConfigError(
            "validation: actor",
            "needs run folders that all nodes see, not an --out that is an address",
            "take validation: trial, or an --out on shared storage",
        )


def check_policy(spec: SweepSpec, trials: Sequence[Trial]) -> None:
    """Refuse a policy that would never end a trial.

    Args:
        spec: of the sweep.
        trials: with every setting that the sweep lists.

    Raises:
        ConfigError: no trial is validated.
    """
    if spec.policy is not None and all(each.config.validation.floor is None for each in trials):
        raise ConfigError(
            "policy",
            "judges trials at their validations, and without a floor there are none",
            "for example appearance: {clip_model: puppet, relative: 0.9}",
        )


def open_record(
    ledger: Ledger, folders: SweepFolders, trials: Sequence[Trial], retry_failed: bool
) -> list[Trial]:
    """Have the record know these trials; returns those that are left to run, in order.

    The caller holds the folder, so nobody else runs them.

    Raises:
        LedgerError: the record cannot be read or written.
    """
    DeltaStore(folders.store)  # refuse a bad address now, not in the morning
    ledger.add(trials)
    ledger.release("the submission that ran it is gone")
    settle_finished(ledger, folders.runs)
    if retry_failed:
        for identity, status in ledger.statuses().items():
            if status.state is TrialState.FAILED:
                ledger.reopen(identity, "asked for with --retry-failed")
    statuses = ledger.statuses()
    return [trial for trial in trials if not statuses[trial.identity].state.over]


def _run(
    args: argparse.Namespace,
    work: Work,
    folders: SweepFolders,
    signals: StopSignals,
    view: SweepView,
) -> None:
    from motion_ray.cluster.session import open_cluster

    with open_cluster(args.address or os.environ.get("RAY_ADDRESS")):
        from jobs.sweep_run import run_trials  # imports ray, which open_cluster has prepared

        run_trials(work, folders, signals, view)


def conclude(
    ledger: Ledger, known: KnownTrials, folders: SweepFolders, signals: StopSignals
) -> int:
    """Register the best, write the page and say what came of a sweep; returns the exit code.

    What cannot be used of one trial or motion is named, and the others are published all the same.

    Raises:
        MotionRayError: the record cannot be used, or the page cannot be written.
    """
    statuses = ledger.statuses()
    results = publish_results(
        ledger,
        lambda trial: folders.runs.gathered(
            trial, finished=statuses[trial.identity].state is TrialState.FINISHED
        ),
        folders.page,
        folders.store,
        folders.name,
    )
    page = folders.publish(results.page)
    mine = [(trial, statuses[trial.identity]) for trial in known.trials]
    failed = [(trial, status) for trial, status in mine if status.state is TrialState.FAILED]
    for trial, status in failed:
        print(f"failed: {trial.motion} {trial.short} ({trial.label}): {status.reason}")
    over = sum(status.state.over for _, status in mine)
    left, done = len(mine) - over + known.unasked, over - len(failed)
    again = "; run the same command to go on" if left else ""
    print(f"{done} done, {len(failed)} failed, {left} left{again}")
    for best in results.registered:
        print(f"  {best.reference} is the best of {best.motion}, in {folders.store}")
    print(f"  leaderboard  {page}", flush=True)
    for problem in results.problems:
        print("error: " + " ".join(str(problem).split()), file=sys.stderr)
    if signals.received is not None:
        return signals.exit_code
    return 1 if failed or left or results.problems else 0
