"""A sweep of 10,000 trials on 1,000 GPUs, with nodes that fail as published, in simulated time.

    python -m benchmarks.simulate_sweep
    python -m benchmarks.simulate_sweep --policy
    python -m benchmarks.simulate_sweep --check sweeps/night-1

The decisions are those of the code that runs real sweeps (:mod:`benchmarks.sweep_simulation`).

Failures: Meta reports 419 unexpected interruptions in 54 days of training on 16,384 H100 GPUs, 8 a
node (The Llama 3 Herd of Models, arXiv 2407.21783, section 3.3.4): 3.8 in 1,000 node-days, so one
node fails every 264 days. Speed: ZeroScope's shape, 24 frames of 320 x 576, on one H100: 0.334 s a
training step, 8.8 s to sample a video with 40 steps and 0.24 s to decode it (measured); eight
videos make a validation. Everything else is an assumption, has an option, and is printed.

``--check`` reads the record of a real sweep, fits a handful of medians to it (a step, a validation,
a start, the end of a run), lets the simulator run the same trials on as many slots, and compares.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.imagined_courses import ImaginedCourses
from benchmarks.sweep_check import compare
from benchmarks.sweep_simulation import Account, Simulation, Site, Work
from motion_ray.recipes.paper import ours
from motion_ray.sweeps.spec import PolicySettings
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial

STEP_SECONDS = 0.334
VALIDATION_SECONDS = 8 * (8.8 + 0.24)
LLAMA_NODE_DAYS = 54 * 16_384 / 8 / 419
DAY, HOUR = 86_400.0, 3_600.0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate_sweep")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--gpus", type=int, default=1_000)
    parser.add_argument("--settings", type=int, default=25, help="trials of each motion")
    parser.add_argument("--node-mtbf-days", type=float, default=LLAMA_NODE_DAYS)
    parser.add_argument("--repair-minutes", type=float, default=60.0, help="assumed")
    parser.add_argument("--warm-seconds", type=float, default=8.0, help="free slot to first step")
    parser.add_argument("--cold-seconds", type=float, default=90.0, help="assumed, a new process")
    parser.add_argument("--save-seconds", type=float, default=20.0, help="assumed, a checkpoint")
    parser.add_argument(
        "--floor-share", type=float, default=0.4, help="assumed, ended by the floor"
    )
    parser.add_argument("--broken-share", type=float, default=0.01, help="assumed, e.g. bad clips")
    parser.add_argument("--policy", action="store_true", help="end outdone trials early")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=Path, metavar="DIR", help="--out of a real sweep")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    console = Console()
    if args.check is not None:
        console.print(compare(args.check).table())
        return 0
    started = time.monotonic()
    works = imagine_works(args)
    site = Site(
        slots=args.gpus,
        warm_seconds=args.warm_seconds,
        cold_seconds=args.cold_seconds,
        validation_seconds=VALIDATION_SECONDS,
        save_seconds=args.save_seconds,
        publish_seconds=VALIDATION_SECONDS + args.save_seconds,
        node_mtbf=args.node_mtbf_days * DAY,
        repair_seconds=60 * args.repair_minutes,
    )
    courses = ImaginedCourses(
        {work.trial.identity: work.trial.motion for work in works},
        works[0].trial.config.max_steps,
        PolicySettings(),
        args.seed,
    )
    review = courses.review if args.policy else None
    simulation = Simulation(works, site, seed=args.seed, review=review)
    account = simulation.run()
    console.print(result_table(args, simulation, account))
    if args.policy:
        console.print(f"motions whose fastest learner was kept: {100 * courses.best_kept():.1f} %")
    console.print(f"simulated in {time.monotonic() - started:.0f} s")
    simulation.forget()
    return 0


def imagine_works(args: argparse.Namespace) -> list[Work]:
    """Trials of the paper's recipe; settings change slowest, as in a real sweep."""
    chance = random.Random(args.seed)
    motions = max(1, args.trials // args.settings)
    works = []
    for number in range(args.trials):
        motion = f"motion-{number % motions:04d}"
        config = ours(base="zeroscope", clip_model="clip").replace(
            {"motion": motion, "seed": number // motions}
        )
        identity = hashlib.sha256(f"{motion} {number}".encode()).hexdigest()
        trial = Trial(identity, motion, {"seed": config.seed}, config)
        works.append(_work(trial, chance, args))
    return works


def _work(trial: Trial, chance: random.Random, args: argparse.Namespace) -> Work:
    config = trial.config
    steps = config.max_steps
    if chance.random() < args.floor_share:
        every = config.validation.every
        steps = every * chance.randint(steps // every // 3, steps // every)
    broken = chance.randint(1, steps) if chance.random() < args.broken_share else None
    return Work(trial, steps, STEP_SECONDS * chance.lognormvariate(0, 0.05), broken)


def result_table(args: argparse.Namespace, simulation: Simulation, account: Account) -> Table:
    """What the sweep came to."""
    statuses = list(simulation.statuses().values())
    whole = args.gpus * account.ended
    working = account.useful + account.starting + account.lost + account.failed + account.down
    results = account.results
    table = Table("", "", title=f"{args.trials} trials on {args.gpus} GPUs", show_header=False)
    for state in TrialState:
        count = sum(status.state is state for status in statuses)
        if count:
            table.add_row(str(state).replace("_", " "), f"{count}")
    rows = {
        "attempts a trial": f"{sum(s.attempts for s in statuses) / len(statuses):.4f}",
        "node failures": f"{account.failures} (a node every {args.node_mtbf_days:.0f} days)",
        "GPU utilisation": _share(account.useful, whole),
        "  until the queue was empty": _share(
            account.useful_until_then, args.gpus * (account.full_until or account.ended)
        ),
        "starting": _share(account.starting, whole),
        "lost work": f"{_share(account.lost, whole)}, {account.lost / HOUR:.1f} GPU hours",
        "work of failed trials": _share(account.failed, whole),
        "nodes away": _share(account.down, whole),
        "nothing left to do": _share(max(0.0, whole - working), whole),
        "first result": f"{results[0] / HOUR:.2f} h",
        "half of the results": f"{results[len(results) // 2] / HOUR:.2f} h",
        "all of them": f"{account.ended / HOUR:.2f} h",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %"


if __name__ == "__main__":
    sys.exit(main())
