"""Teach a base model a motion, in a Ray Train worker: from clips to a delta and a page.

    python -m jobs.customize --motion clips/arms --out runs/arms --set regularization.folder=clips/b
    python -m jobs.customize --motions clips/a clips/b --sweep sweep.yaml --out sweeps/night-1

The second form runs many trials at once (docs/sweeps.md). Run the same command again to resume. On
a cluster of several machines ``--out`` has to be on storage that all of them see.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.signals import StopSignals
from motion_ray.errors import ConfigError, MotionRayError

if TYPE_CHECKING:
    from jobs.checks import Plan
    from motion_ray.types import RunFinished

# torch and diffusers are imported below, inside functions: --help answers at once, and Ctrl-C is
# heard while they load.


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.customize", description="Teach a base model a motion from a few clips."
    )
    parser.add_argument("--motion", metavar="DIR", help="folder of clips with captions")
    parser.add_argument(
        "--motions", nargs="+", metavar="DIR", help="several: one trial or more each"
    )
    parser.add_argument("--sweep", metavar="FILE", help="sweep.yaml: settings to try")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="run folder, the same one resumes; of a sweep also an address, e.g. s3://bucket/a",
    )
    parser.add_argument("--recipe", metavar="NAME", help="recipe or .yaml file (default: puppet)")
    parser.add_argument(
        "--base", metavar="FOLDER", help="diffusers folder, instead of the recipe's base"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change a setting of the recipe"
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        help="of a sweep whose --out is an address: folder that each machine has for its trials",
    )
    parser.add_argument("--store", metavar="URI", help="delta store (default: OUT/store)")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="of encoded clips (default: OUT/cache); runs with one cache encode a clip once",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="running Ray cluster, or auto (default: RAY_ADDRESS, else a private one)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="gpu waits for an autoscaler to bring one",
    )
    parser.add_argument(
        "--resources", metavar="gpu=1,cpu=4", help="of one trial of a sweep; gpu=0.5 and gpu=0 too"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="run failed trials of a sweep again"
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of a live panel")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code.

    0 done, 1 failed, 2 bad input, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    parser = arguments()
    args = parser.parse_args(argv)
    if args.motion is None and args.motions is None and args.sweep is None:
        parser.error("one of --motion, --motions and --sweep is needed")
    if args.motions is None and args.sweep is None:
        if args.work is not None:
            parser.error("--work belongs to a sweep; a single run works in --out")
        if args.resources is not None:
            parser.error("--resources belongs to a sweep; a single run has --device")
        if args.retry_failed:
            parser.error("--retry-failed belongs to a sweep; a single run is just started again")
    elif args.cache is not None:
        parser.error("--cache belongs to a single run; the trials of a sweep share one in --out")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    with StopSignals() as signals:
        try:
            if args.sweep is not None or args.motions is not None:
                from jobs.sweep import run_sweep

                return run_sweep(args, signals)
            result = _check_and_run(args, signals)
        except MotionRayError as error:
            print("error: " + " ".join(str(error).split()), file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped at once; run the same command to resume", file=sys.stderr)
            return signals.exit_code
        if result is None:
            return 1 if signals.received is None else signals.exit_code
    print_result(result, time.monotonic() - started)
    return 0


def _check_and_run(args: argparse.Namespace, signals: StopSignals) -> RunFinished | None:
    from jobs.checks import check_input
    from motion_ray.customization.run import RunFolder

    plan = check_input(
        recipe=args.recipe or "puppet",
        base=args.base,
        motion=args.motion,
        sets=args.set,
        out=args.out,
        store=args.store,
        here=Path.cwd(),
        cache=args.cache,
    )
    result = RunFolder(plan.out).finished()
    if result is not None and plan.store is not None and plan.store != result.store:
        raise ConfigError(
            f"--store {args.store}",
            f"is another one than this run, which is finished, has published into: {result.store}",
            "leave --store out, or choose another --out",
        )
    if result is None and signals.received is None:
        result = run(args, plan, signals)
    return result


def run(args: argparse.Namespace, plan: Plan, signals: StopSignals) -> RunFinished | None:
    """Start or join a cluster and train there; null if it failed or was stopped (and said so)."""
    from jobs.display import choose_display
    from motion_ray.cluster.session import open_cluster
    from motion_ray.customization.run import RunFolder

    print(f"customizing {plan.config.base} with {plan.config.motion} into {plan.out}", flush=True)
    display = choose_display(args.plain, Path(plan.config.motion).name)
    with open_cluster(args.address or os.environ.get("RAY_ADDRESS")) as session:
        from jobs.watch import train  # imports ray, which open_cluster has prepared

        RunFolder(plan.out).make()  # Ray would need thirty lines to say why it cannot
        return train(plan, args.device, display, signals, alone=session.local)


def print_result(result: RunFinished, seconds: float) -> None:
    """Say where everything is."""
    from motion_ray.cluster.progress import format_seconds

    why = {
        "appearance_floor": "appearance fell to its floor",
        "max_steps": "the last step was reached",
    }
    print(f"done after {result.step} steps in {format_seconds(seconds)}: {why[result.reason]}")
    print(f"  delta   {result.delta} (weights of step {result.delta_step}) in store {result.store}")
    print(f"  report  {result.report}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
