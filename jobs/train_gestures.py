"""Fine-tune a video classifier on Jester, so that gestures in generated videos can be recognised.

Example: ``python -m jobs.train_gestures --jester data/jester --start models/videomae-small --work
runs/gestures --out models/gestures``. The same command goes on where it was stopped. The result is
tested on the validation split; ``jobs.evaluate --classifier models/gestures`` takes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jobs.evaluate_view import progress_of
from jobs.evaluate_workers import DEVICES
from motion_ray.data.jester import FRAMES, TRAIN, VALIDATION
from motion_ray.devices import resolve_device
from motion_ray.errors import MotionRayError
from motion_ray.evaluation.motion_finetune import (
    FineTuning,
    LabelledClips,
    fine_tune,
    write_classifier,
)
from motion_ray.pretraining.settings import change_settings


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.train_gestures", description=__doc__)
    parser.add_argument("--jester", type=Path, required=True, help="folder of the csv files")
    parser.add_argument("--frames", type=Path, help=f"default: {FRAMES} in that folder")
    parser.add_argument("--start", type=Path, required=True, help="classifier to start from")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder of the classifier")
    parser.add_argument("--set", action="append", default=[], metavar="A=B", help="a setting")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test, write; 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    try:
        train_gestures(options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train_gestures(options: argparse.Namespace) -> None:
    """All of it."""
    settings = change_settings(FineTuning(), options.set)
    device = str(resolve_device(DEVICES[options.device]))
    data, held_out = (
        LabelledClips.of_jester(options.jester, name, options.frames)
        for name in (TRAIN, VALIDATION)
    )
    console = Console()
    with progress_of(console) as told:
        for event in fine_tune(settings, options.start, data, options.work, device):
            told(event.stage, event.done, event.total)
    right = write_classifier(
        *(settings, options.start, data, held_out),
        *(options.work, options.out, device),
    )
    console.print(f"right on clips of the validation split: {right}")
    console.print(f"written to {options.out}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
