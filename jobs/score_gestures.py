"""Test a video classifier on Jester's validation split; no count that it makes means much without.

Examples: ``python -m jobs.score_gestures --jester data/jester --classifier models/videomae-jester``
and, for TRN's published file, which becomes that folder first, ``python -m jobs.score_gestures
--jester data/jester --classifier models/trn --trn TRN_jester.pth.tar --trn-sha256 HEX``. What it
finds stands in ``accuracy.json`` in the folder, and from then on in reports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from jobs.evaluate_view import progress_of
from jobs.evaluate_workers import DEVICES
from motion_ray.data.jester import FRAMES, VALIDATION, JesterClip
from motion_ray.devices import resolve_device
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.motion_finetune import (
    FineTuning,
    LabelledClips,
    accuracy,
    write_accuracy,
)
from motion_ray.evaluation.motion_trn_weights import convert_trn


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.score_gestures", description=__doc__)
    parser.add_argument("--jester", type=Path, required=True, help="folder of the csv files")
    parser.add_argument("--frames", type=Path, help=f"default: {FRAMES} in that folder")
    parser.add_argument("--classifier", type=Path, required=True, help="folder to be tested")
    parser.add_argument("--trn", type=Path, help="TRN's file, to be converted into that folder")
    parser.add_argument("--trn-sha256", metavar="HEX", help="of that file, a pickle")
    parser.add_argument("--clips", type=int, help="test on so many, evenly spread (default: all)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=FineTuning().seconds,
        help="of each clip, in its middle (default %(default)s)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert if asked, test, write; 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    try:
        score_gestures(options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def score_gestures(options: argparse.Namespace) -> None:
    """All of it."""
    if (options.trn is None) != (options.trn_sha256 is None):
        rule = "belong together: the file is a pickle, read only if it is the one you mean"
        raise ConfigError("--trn and --trn-sha256", rule, "sha256sum FILE shows it")
    if options.seconds <= 0:
        raise ConfigError("--seconds", f"is above 0, not {options.seconds:g}", "for example 2.6")
    data = LabelledClips.of_jester(options.jester, VALIDATION, options.frames)
    data = replace(data, clips=_some(data.clips, options.clips))
    if options.trn is not None:
        convert_trn(options.trn, options.trn_sha256, data.labels, options.classifier)
    device = resolve_device(DEVICES[options.device])
    classifier = load_motion_classifier(str(options.classifier), device)
    console = Console()
    with progress_of(console) as told:
        right = accuracy(classifier, data, options.seconds, partial(told, "testing"))
    tested = {"tested on": VALIDATION, "seconds": options.seconds, "weights": classifier.sha256}
    write_accuracy(options.classifier, right, **tested)
    console.print(f"right on clips of the validation split: {right}")


def _some(clips: Sequence[JesterClip], number: int | None) -> Sequence[JesterClip]:
    """So many of them, evenly spread, the same every time."""
    if number is None:
        return clips
    if not 1 <= number <= len(clips):
        rule = f"is a number from 1 to {len(clips)}, as the split has, not {number}"
        raise ConfigError("--clips", rule, "for example 1000")
    return [clips[at * len(clips) // number] for at in range(number)]


if __name__ == "__main__":
    sys.exit(main())
