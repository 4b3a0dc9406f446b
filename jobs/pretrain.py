"""Rebuild the models that this project ships, from nothing.

The base model, in this order and in one --work folder: world, text, vae, latents, decoder, image,
video, export. Example: ``python -m jobs.pretrain --stage world``. The models that judge it: clip,
motion, copying; example: ``python -m jobs.pretrain --stage clip --out clip``. A killed run goes on
where it stopped when the same command is given again. docs/pretraining.md tells all of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from jobs.idle_options import all_but, refuse_idle
from jobs.pretrain_base import BASE_STAGES, DEFAULT_WORK
from jobs.pretrain_evaluators import DEFAULT_BASE, DEFAULT_TEST_SCENES, EVALUATOR_STAGES
from motion_ray.cluster.paths import lasting_path
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.pretraining.export import EXPORT

#: Options that have an effect, by what is made.
OF_JUDGES = {"stage", "out", "work", "base", "threads", "test_scenes", "set"}
OF_EXPORT = {"stage", "out", "work", "threads", "tiny", "device", "scores"}
OF_BASE = {
    *("stage", "work", "threads", "set", "init", "tiny"),
    *("workers", "address", "device", "score_videos"),
}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.pretrain", description=__doc__)
    parser.add_argument("--stage", required=True, choices=tuple(STAGES), help="what to make")
    parser.add_argument("--out", type=Path, help="new folder of the finished model")
    parser.add_argument(
        "--work", type=Path, help="data and checkpoints (default: pretrain; of a judge OUT.work)"
    )
    parser.add_argument("--base", default=DEFAULT_BASE, help="base whose VAE softens frames")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument(
        "--test-scenes", type=int, default=DEFAULT_TEST_SCENES, help="unseen scenes to score on"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    base = parser.add_argument_group("stages of the base model")
    base.add_argument("--init", type=Path, help="diffusers folder of weights to start from")
    base.add_argument("--tiny", action="store_true", help="a model of no use, in seconds")
    base.add_argument("--workers", type=int, default=1, help="that share a stage, with Ray Train")
    base.add_argument("--address", metavar="HOST:PORT", help="running Ray cluster, or auto")
    base.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    base.add_argument(
        "--score-videos",
        type=int,
        default=48,
        help="that score the video stage; 0: none",
    )
    base.add_argument("--scores", type=Path, help="scores.json of jobs.evaluate, for the card")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run the stage, print its scores; 2 on a wrong argument, 130 on Ctrl-C."""
    parser = arguments()
    options = parser.parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        _check_options(parser, options)
        STAGES[options.stage](options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.stage in EVALUATOR_STAGES:
        if options.out is None:
            raise ConfigError("--out", "names the new folder of the model", "e.g. --out clip")
        reason = f"is for stages of the base model, not for {options.stage}"
        refuse_idle(parser, options, all_but(parser, OF_JUDGES), reason)
    elif options.stage == EXPORT:
        refuse_idle(parser, options, all_but(parser, OF_EXPORT), "has no effect on an export")
    else:
        reason = f"has no effect on the stage {options.stage}"
        refuse_idle(parser, options, all_but(parser, OF_BASE), reason)
        if options.workers < 1:
            raise ConfigError("--workers", f"is at least 1, got {options.workers}", "e.g. 2")
        if options.address is not None and options.workers == 1:
            rule = "is where several workers share a stage, and there is one, in this process"
            raise ConfigError("--address", rule, "for example with --workers 4")
    # Also the defaults: a submitted job's own folder is deleted.
    here = Path.cwd()
    if options.out is not None:
        options.out = lasting_path(str(options.out), "--out", here)
    if options.stage not in EVALUATOR_STAGES or options.work is not None:
        options.work = lasting_path(str(options.work or DEFAULT_WORK), "--work", here)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {**BASE_STAGES, **EVALUATOR_STAGES}


if __name__ == "__main__":
    sys.exit(main())
