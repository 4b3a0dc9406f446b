"""Rebuild the models that this project ships, from nothing.

Example: ``python -m jobs.pretrain --stage clip --out clip``. A killed run goes on where it stopped
when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from jobs.pretrain_evaluators import EVALUATOR_STAGES
from motion_ray.errors import MotionRayError

DEFAULT_TEST_SCENES = 480


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.pretrain", description=__doc__)
    parser.add_argument("--stage", required=True, choices=sorted(STAGES), help="which model")
    parser.add_argument("--out", required=True, type=Path, help="new folder of the finished model")
    parser.add_argument("--work", type=Path, help="data and checkpoints (default: OUT.work)")
    parser.add_argument("--base", default="puppet", help="base model whose VAE softens frames")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument(
        "--test-scenes", type=int, default=DEFAULT_TEST_SCENES, help="unseen scenes to score on"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run the stage, print its scores; 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        STAGES[options.stage](options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {**EVALUATOR_STAGES}


if __name__ == "__main__":
    sys.exit(main())
