"""Write the base model with a learned motion inside as a folder for diffusers.

Example: ``python -m jobs.export --store demo/run/store --motion dabbing --out exported``. Any
program that reads ``TextToVideoSDPipeline`` folders can then generate the motion; its token goes
into the prompt, as here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from motion_ray.backbones.export import export_pipeline
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.errors import MotionRayError
from motion_ray.store import DeltaStore

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.export", description=__doc__)
    parser.add_argument("--store", required=True, help="folder or URI of the store")
    parser.add_argument("--motion", required=True, help="name or name@version")
    parser.add_argument("--base", default="puppet", help="'puppet' or a diffusers folder")
    parser.add_argument("--out", required=True, type=Path, help="new folder")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp16", help="of weights")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Load, apply, write; 2 on a wrong argument."""
    options = arguments().parse_args(argv)
    console = Console()
    try:
        delta = DeltaStore(options.store).load(options.motion)
        with console.status("writing"):
            backbone = load_backbone(options.base, "cpu")
            with delta.applied(backbone):
                dtype = PRECISIONS[options.precision]
                export_pipeline(backbone, options.base, options.out, dtype)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    said = f'{options.out}: TextToVideoSDPipeline.from_pretrained("{options.out}")'
    console.print(f"{said}, token {delta.header.token!r}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
