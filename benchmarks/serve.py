"""What a server of many motions costs over what it is built from, side by side in one run.

    python -m benchmarks.serve
    python -m benchmarks.serve --quick
    python -m benchmarks.serve --parts b e
    python -m benchmarks.serve --base zeroscope --motions 10 --requests 20

Ratios of what was measured by turns on one machine; the seconds alone mean little. Parts: (a)
changing the motion as a share of a generation; (b) latency with many motions under Zipf traffic
against the same traffic to one; (c) throughput against servers that read from disk whenever the
motion changes; (d) a thousand motions in a fixed budget, each with its own output, and flat memory;
(e) router, Ray Serve and HTTP over calling the generator directly.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.pool import cost_of_a_change
from benchmarks.serve_motions import latency, thousand
from benchmarks.serve_naive import naive
from benchmarks.serve_overhead import overhead
from benchmarks.served import Served
from motion_ray.threads import apart


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        steps: denoising steps of a generation; null: the recipe's.
        motions: in the traffic of (b) and (c).
        requests: of that traffic, each way.
        many: motions of (d).
        many_requests: for them.
        repeats: of (a) and (e).
    """

    steps: int | None = None
    motions: int = 100
    requests: int = 100
    many: int = 1000
    many_requests: int = 5000
    repeats: int = 20


QUICK = Size(steps=2, motions=8, requests=12, many=24, many_requests=80, repeats=3)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description="Costs of a server of motions, as ratios.")
    parser.add_argument("--quick", action="store_true", help="tiny numbers: does it run")
    parser.add_argument("--parts", nargs="+", choices="abcde", default=list("abcde"))
    parser.add_argument("--threads", type=int, default=2, help="of torch, everywhere")
    parser.add_argument(
        "--base", default="puppet", help="or a diffusers folder, at the paper's size"
    )
    parser.add_argument("--motions", type=int, help="of the traffic of (b) and (c)")
    parser.add_argument("--requests", type=int, help="of that traffic, each way")
    parser.add_argument("--steps", type=int, help="denoising steps of a generation")
    parser.add_argument("--repeats", type=int, help="of (a) and (e)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = QUICK if args.quick else Size()
    given = {name: getattr(args, name) for name in ("motions", "requests", "steps", "repeats")}
    size = replace(size, **{name: value for name, value in given.items() if value is not None})
    served = Served(args.base, size.steps)
    # Those that compute here do so in a thread that ends: beside the threads that OpenMP keeps for
    # it generations of later parts would take twice as long.
    parts: dict[str, Callable[[Path], None]] = {
        "a": lambda folder: apart(lambda: cost_of_a_change(folder, size.repeats, served)),
        "b": lambda folder: latency(folder, shelf, size.motions, size.requests, served),
        "c": lambda _: naive(shelf, size.motions, size.requests, served, args.threads),
        "d": lambda folder: apart(lambda: thousand(folder, size.many, size.many_requests, served)),
        "e": lambda folder: overhead(folder, size.repeats, served, args.threads),
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as root:
        shelf = Path(root) / "motions"  # of (b) and (c): many of them take a while to write
        for part in args.parts:
            with tempfile.TemporaryDirectory(prefix=part, dir=root) as folder:
                parts[part](Path(folder))


if __name__ == "__main__":
    main()
