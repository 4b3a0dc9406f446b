"""Make the folders of the paper's experiments (section 4.1) from Jester as its owner gives it out.

Example: ``python -m jobs.jester --jester data/jester --out clips``. For each gesture: ten clips of
the validation split to learn from (``motions/swiping-down/``) and others to compare with
(``held-out/swiping-down/``); ``regularization/`` with fifty clips of each of two other classes; and
``targets.yaml``, which ``jobs.evaluate --targets`` takes. The folder is what ``jobs.reproduce
--scale jester --data`` wants. The same command can be given again: what is complete is kept.
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

LEARNED, HELD_OUT, TARGETS = "motions", "held-out", "targets.yaml"  # in --out


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
    Console().print("\n".join(f"{path}: complete" for path in made), soft_wrap=True)
    return 0


def make_folders(options: argparse.Namespace) -> list[Path]:
    """All folders and the file of targets; returns where they are.

    What a call before this one wrote for the same arguments is kept.

    Raises:
        DataError: an option or the data set is wrong, there are too few clips (nothing is written
            then), or something else lies in ``--out``.
    """
    for option in ("clips", "held_out", "each", "pictures"):
        if getattr(options, option) < 1:
            rule = f"is at least 1, got {getattr(options, option)}"
            raise DataError(f"--{option.replace('_', '-')}", rule, "for example 10")
    labels = read_labels(options.jester / LABELS)
    frames = options.frames or options.jester / FRAMES
    clips = read_split(options.jester / VALIDATION, frames, labels)
    for label in options.gestures:
        if label not in labels:
            raise DataError("--gestures", f"there is no {label!r}", f"one of: {', '.join(labels)}")
    chosen = {label: _choose(options, clips, label) for label in options.gestures}
    targets = yaml.safe_dump({store_name(each): _target(each) for each in chosen}, sort_keys=False)
    _check_targets(options.out / TARGETS, targets)
    # The first that is written also chooses, so whatever class has too few clips, nothing is left.
    other = options.out / "regularization"
    write_regularization_folder(other, clips, options.each, options.seed, options.pictures)
    made: list[Path] = []
    for label, parts in chosen.items():
        for place, some in zip((LEARNED, HELD_OUT), parts, strict=True):
            made.append(options.out / place / store_name(label))
            write_gesture_folder(made[-1], label, some, options.token)
    write_text_atomic(options.out / TARGETS, targets, DataError)
    return [*made, other, options.out / TARGETS]


def _choose(
    options: argparse.Namespace, clips: Sequence[JesterClip], label: str
) -> tuple[list[JesterClip], list[JesterClip]]:
    """Clips to learn from, and others of the same class."""
    choose = partial(choose_clips, clips, label, seed=options.seed, least=options.pictures)
    return choose(options.clips), choose(options.held_out, after=options.clips)


def _target(label: str) -> dict[str, str]:
    """What jobs.evaluate wants to know of a gesture."""
    name = store_name(label)
    return {
        "label": label,
        "description": GESTURES.get(label, label.lower()),
        "phrase": TOKEN_PHRASE,
        "training": f"{LEARNED}/{name}",
        "held_out": f"{HELD_OUT}/{name}",
    }


def _check_targets(path: Path, text: str) -> None:
    if path.is_file() and path.read_bytes() != text.encode():
        rule = "is there already and names other gestures than these"
        raise DataError(str(path), rule, "name another --out folder")


if __name__ == "__main__":
    sys.exit(main())
