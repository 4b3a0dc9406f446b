"""Look at a motion folder the way training will, before any GPU time.

    python -m jobs.doctor --motion clips/my-motion --out doctor

Prints every clip, where V* lands in its caption, what the run will cost, and every problem at once;
draws a contact sheet. Exit code 2 if a problem would stop training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from jobs.checks import load_job_config
from jobs.doctor_view import clip_table, cost_table, finding_line, headline
from motion_ray.config import CustomizationConfig
from motion_ray.customization.checkup import check_up, motion_problems
from motion_ray.data.contact_sheet import write_contact_sheet
from motion_ray.data.inspect import Finding
from motion_ray.errors import ConfigError, MotionRayError

SHEET = "contact_sheet.png"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.doctor",
        description="Show what training would see, what it would cost, and every problem.",
    )
    parser.add_argument("--motion", required=True, metavar="DIR", help="folder of clips")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the contact sheet")
    parser.add_argument(
        "--recipe", default="puppet", metavar="NAME", help="recipe or .yaml file (default: puppet)"
    )
    parser.add_argument(
        "--base", metavar="FOLDER", help="diffusers folder, instead of the recipe's base"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change a setting of the recipe"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the doctor; returns the exit code: 0 fine or warnings only, 2 a problem is fatal."""
    args = arguments().parse_args(argv)
    console = Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=160)
    try:
        config = load_job_config(args.recipe, args.base, args.motion, args.set)
    except ConfigError as error:
        # The clips can still be listed: one visit to the doctor should be enough.
        return _finish(console, [Finding(True, str(error)), *motion_problems(args.motion)])
    try:
        return _finish(console, _examine(console, config, Path(args.out)))
    except MotionRayError as error:  # the contact sheet cannot be written
        return _finish(console, [Finding(True, str(error))])


def _examine(console: Console, config: CustomizationConfig, out: Path) -> Sequence[Finding]:
    with Status("looking at the clips", console=console) as status:
        checkup = check_up(
            config, lambda stage, done, total: status.update(f"{stage} {done}/{total}")
        )
    console.print(headline(checkup.motion.folder))
    console.print(clip_table(checkup))
    if checkup.forecast is not None:
        console.print(cost_table(checkup.forecast, config))
    rows = write_contact_sheet(out / SHEET, checkup.clips)
    if rows:
        console.print(f"contact sheet of {rows} clips: {out / SHEET}")
    return checkup.findings


def _finish(console: Console, findings: Sequence[Finding]) -> int:
    for finding in findings:
        console.print(finding_line(finding), soft_wrap=True)
    fatal = sum(finding.fatal for finding in findings)
    warnings = len(findings) - fatal
    console.print(f"{fatal} errors, {warnings} warnings")
    return 2 if fatal else 0


if __name__ == "__main__":
    sys.exit(main())
