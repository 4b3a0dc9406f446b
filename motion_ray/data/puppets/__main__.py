"""Draw the clips of a motion and of other motions: ``OUT/motion`` and ``OUT/regularization``.

Example: ``python -m motion_ray.data.puppets --motion "swinging arms" --out demo``. What is there
already and fits is kept, so the command can be repeated after an interruption. With
``--sheet puppets.png`` it draws one picture of all kinds and motions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.folders import (
    DrawnFolder,
    plan_motion_folder,
    plan_regularization_folder,
    write_motion_folder,
    write_regularization_folder,
)
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS
from motion_ray.data.puppets.sheet import write_sheet
from motion_ray.errors import ConfigError, DataError, MotionRayError

DECIDED = ("name", "token", "clips")  # by the arguments, in motion.yaml


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m motion_ray.data.puppets",
        description="Draw clips of a motion of the puppet world, and clips of other motions.",
    )
    held_out, base = ", ".join(HELD_OUT_MOTIONS), ", ".join(BASE_MOTIONS)
    parser.add_argument(
        "--motion", help=f"new to the embedded base model: {held_out}; known to it: {base}"
    )
    parser.add_argument("--out", type=Path, help="folder to write motion/ and regularization/ into")
    parser.add_argument("--clips", type=int, default=10, help="clips of the motion (default 10)")
    parser.add_argument(
        "--regularization-clips", type=int, default=60, help="clips of other motions (default 60)"
    )
    parser.add_argument(
        "--kind", default="person", help=f"who does it: {', '.join(KINDS)} (default person)"
    )
    parser.add_argument(
        "--token", default="pll", help="the word that will stand for the motion (default pll)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every pixel (default 0)")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="one picture of all kinds and motions"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, draw, say where; 2 on a wrong argument."""
    options = _arguments().parse_args(arguments)
    try:
        _check(options)
        if options.sheet is not None:
            write_sheet(options.sheet)
            print(f"{options.sheet}: all kinds and motions")
        if options.motion is not None:
            _draw(options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> None:
    both = options.motion is not None and options.out is not None
    neither = options.motion is None and options.out is None
    if not both and not (neither and options.sheet is not None):
        raise ConfigError(
            "arguments",
            "name a --motion and the folder --out for its clips, or a --sheet",
            'for example --motion "swinging arms" --out demo',
        )


def _draw(options: argparse.Namespace) -> None:
    motion: Path = options.out / "motion"
    other: Path = options.out / "regularization"
    clips, others, seed, kind = (
        options.clips,
        options.regularization_clips,
        options.seed,
        options.kind,
    )
    planned = plan_motion_folder(options.motion, clips, seed, kind, options.token)
    if not _kept(motion, planned, f"{clips} clips of {options.motion}"):
        write_motion_folder(options.motion, motion, clips, seed, kind, options.token)
        print(f"{motion}: {clips} clips of {options.motion}")
    planned = plan_regularization_folder(others, seed, kind, avoid=options.motion)
    if not _kept(other, planned, f"{others} clips of other motions"):
        write_regularization_folder(other, others, seed, kind, avoid=options.motion)
        print(f"{other}: {others} clips of other motions")


def _kept(folder: Path, planned: DrawnFolder, what: str) -> bool:
    """Whether the folder is there already with what was asked for.

    Raises:
        DataError: it holds something else.
    """
    settings = folder / "motion.yaml"
    try:
        if not settings.is_file():
            return False
        found = yaml.safe_load(settings.read_text())
        # the captions tell kind and seed; other words in the file are the user's to change
        same = all(found.get(key) == planned.motion_file.get(key) for key in DECIDED)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        same = False
    if not same:
        raise DataError(
            str(folder),
            f"is there already and does not hold the {what} of this kind, token and seed",
            "name another --out folder (of make demo: DEMO_OUT=another)",
        )
    print(f"{folder}: kept")
    return True


if __name__ == "__main__":
    sys.exit(main())
