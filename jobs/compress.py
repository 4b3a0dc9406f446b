"""Publish a compressed form of a motion: its changes in eight bits, a fraction of the bytes.

Example: ``python -m jobs.compress --store store --motion dabbing`` makes a new version of the
motion, beside the one it comes from. It prints bytes before and after, and the largest relative
error of a parameter's change in each group of parameters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.compression import Loss, compress, losses
from motion_ray.errors import MotionRayError
from motion_ray.store import DeltaStore


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.compress", description=__doc__)
    parser.add_argument("--store", required=True, help="folder or URI of the store")
    parser.add_argument("--motion", required=True, help="name or name@version, full-rank")
    parser.add_argument("--base", default="puppet", help="'puppet' or a diffusers folder")
    parser.add_argument("--name", help="publish it under this name (default the motion's own)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Load, compress, publish, show; 2 on a wrong argument."""
    options = arguments().parse_args(argv)
    try:
        store = DeltaStore(options.store)
        record = store.resolve(options.motion)
        delta = store.load(record.reference)
        backbone = load_backbone(options.base, "cpu")
        compressed = compress(delta, backbone)
        found = losses(delta, compressed, backbone)
        reference = store.publish(compressed, options.name or record.name)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    console.print(table_of(found, backbone))
    share = compressed.nbytes / delta.nbytes
    sizes = f"{delta.nbytes:,} bytes, now {compressed.nbytes:,} ({share:.1%})"
    console.print(f"{record.reference}: {sizes}", highlight=False, soft_wrap=True)
    console.print(f"published as {reference}", highlight=False, soft_wrap=True)
    return 0


def table_of(found: Sequence[Loss], backbone: UNet3DBackbone) -> Table:
    """A row for each group of parameters that the motion changes."""
    table = Table(title="Changes in eight bits")
    table.add_column("group", no_wrap=True)
    for name in ("tensors", "bytes before", "bytes after", "largest relative error"):
        table.add_column(name, justify="right")
    groups = dict.fromkeys(backbone.group_of(each.name) for each in found)
    for group in sorted(groups):
        some = [each for each in found if backbone.group_of(each.name) is group]
        before, after = sum(each.before for each in some), sum(each.after for each in some)
        worst = max(each.error for each in some)
        table.add_row(group, f"{len(some)}", f"{before:,}", f"{after:,}", f"{worst:.2%}")
    return table


if __name__ == "__main__":
    sys.exit(main())
