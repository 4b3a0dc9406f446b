"""Make the folders of the paper's experiments (section 4.1) from Jester as its owner gives it out.

Example: ``python -m jobs.jester --jester data/jester --out clips``. For each gesture: ten clips of
the validation split to learn from (``motions/swiping-down/``) and others to compare with
(``held-out/swiping-down/``); ``regularization/`` with fifty clips of each of two other classes; and
``targets.yaml``, which ``jobs.evaluate --targets`` takes. The folder is what
``jobs.reproduce --scale jester --data`` wants.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml
from rich.console import Console

from motion_ray.data.clips import store_name
from motion_ray.data.jester import (
    FRAMES,
    GESTURES,
    LABELS,
    TOKEN_PHRASE,
    VALIDATION,
    JesterClip,
    choose_clips,
    read_labels,
    read_split,
    write_gesture_folder,
    write_regularization_folder,
)
from motion_ray.errors import DataError, MotionRayError
from motion_ray.files import write_text_atomic

LEARNED, HELD_OUT = "motions", "held-out"  # folders of --out


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.jester", description=__doc__)
    parser.add_argument("--jester", type=Path, required=True, help="folder of the csv files")
    parser.add_argument("--frames", type=Path, help=f"default: {FRAMES} in that folder")
    parser.add_argument("--out", type=Path, required=True, help="motions/, held-out/, ... in it")
    parser.add_argument(
        "--gestures", nargs="+", metavar="LABEL", default=list(GESTURES), help="default: the five"
    )
    parser.add_argument("--clips", type=int, default=10, help="of each to learn (default 10)")
    parser.add_argument("--held-out", type=int, default=50, help="of each to compare (default 50)")
    parser.add_argument("--each", type=int, default=50, help="regularization clips of each class")
    parser.add_argument(
        "--pictures",
        type=int,
        default=36,
        help="that a clip has at least; 36 of 12 a second hold the paper's 24 frames of 8 a second",
    )
    parser.add_argument("--token", default="pll", help="V* (default pll)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read, choose, write; 2 on a wrong argument."""
    options = arguments().parse_args(argv)
    try:
        made = make_folders(options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Console().print("\n".join(f"written: {path}" for path in made), soft_wrap=True)
    return 0


def make_folders(options: argparse.Namespace) -> list[Path]:
    """All folders and the file of targets; returns what was written."""
    labels = read_labels(options.jester / LABELS)
    frames = options.frames or options.jester / FRAMES
    clips = read_split(options.jester / VALIDATION, frames, labels)
    for label in options.gestures:
        if label not in labels:
            raise DataError("--gestures", f"there is no {label!r}", f"one of: {', '.join(labels)}")
    made: list[Path] = []
    targets = {}
    for label in options.gestures:
        name = store_name(label)
        made += _write_gesture(options, clips, label, name)
        targets[name] = {
            "label": label,
            "description": GESTURES.get(label, label.lower()),
            "phrase": TOKEN_PHRASE,
            "training": f"{LEARNED}/{name}",
            "held_out": f"{HELD_OUT}/{name}",
        }
    made += [options.out / "regularization", options.out / "targets.yaml"]
    write_regularization_folder(made[-2], clips, options.each, options.seed, options.pictures)
    write_text_atomic(made[-1], yaml.safe_dump(targets, sort_keys=False), DataError)
    return made


def _write_gesture(
    options: argparse.Namespace, clips: Sequence[JesterClip], label: str, name: str
) -> list[Path]:
    """Clips to learn from, and others of the same class."""
    own, others = options.out / LEARNED / name, options.out / HELD_OUT / name
    choose = partial(choose_clips, clips, label, seed=options.seed, least=options.pictures)
    first, rest = choose(options.clips), choose(options.held_out, after=options.clips)
    write_gesture_folder(own, label, first, options.token)
    write_gesture_folder(others, label, rest, options.token)
    return [own, others]


if __name__ == "__main__":
    sys.exit(main())
