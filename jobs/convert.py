"""Copy a base model's folder with safetensors in place of pickles, as the loaders here want it.

Example: ``python -m jobs.convert downloads/zeroscope_v2_576w models/zeroscope_v2_576w``. Nothing in
the files is executed; tensors keep their values and precision.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from motion_ray.backbones.convert import convert
from motion_ray.errors import MotionRayError


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.convert", description=__doc__)
    parser.add_argument("source", type=Path, help="a diffusers folder, as a hub has it")
    parser.add_argument("target", type=Path, help="new folder")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert and check; 2 on a wrong argument."""
    options = arguments().parse_args(argv)
    console = Console()
    try:
        with console.status("reading") as status:
            fingerprint = convert(
                options.source, options.target, lambda part: status.update(f"copying {part}")
            )
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    said = f"{options.target}: sha256 {fingerprint}; use it as --base {options.target}"
    console.print(said, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
