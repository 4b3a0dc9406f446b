"""Make the paper's tables and figures again, and say of each claim whether it holds.

Examples: ``python -m jobs.reproduce table1 --scale puppet --out reproduction`` and ``python -m
jobs.reproduce all --quick``. Trains what is missing, evaluates it, and writes ``report.html`` and
``results.json`` into OUT. A killed reproduction goes on where it stopped when the same command is
given again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from jobs.reproduce_view import Progress, show
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.evaluation.copying_network import EMBEDDED as EMBEDDED_DETECTOR
from motion_ray.reproduction.experiments import EXPERIMENTS, PAPERS_OWN, Experiment
from motion_ray.reproduction.page import write_page
from motion_ray.reproduction.reproduce import reproduce
from motion_ray.reproduction.scale import Scale, jester_scale, puppet_scale


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.reproduce", description=__doc__)
    parser.add_argument("what", choices=[*EXPERIMENTS, "all"], help="all: the paper's own")
    parser.add_argument("--scale", choices=["puppet", "jester"], default="puppet")
    parser.add_argument(
        "--quick", action="store_true", help="puppet scale, one motion, few steps and videos"
    )
    parser.add_argument("--motions", nargs="+", help="instead of the scale's")
    parser.add_argument("--seeds", nargs="+", type=int, help="of training, for every method")
    parser.add_argument("--prompts", type=int, help="how many, instead of the scale's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="a setting of every recipe"
    )
    parser.add_argument("--out", type=Path, help="folder (default reproduction-SCALE)")
    parser.add_argument("--data", type=Path, help="of Jester: motions/, regularization/, ..")
    parser.add_argument("--base", help="of Jester: a diffusers folder of ZeroScope")
    parser.add_argument("--classifier", help="of Jester: a folder of a video classifier")
    parser.add_argument("--clip-model", help="of Jester: a folder that open_clip loads")
    parser.add_argument("--copy-detector", default=EMBEDDED_DETECTOR)
    parser.add_argument("--copy-sha256", help="of a TorchScript file of SSCD")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", help="default: the GPU if there is one")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, reproduce, show; 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        _reproduce(options, _command(argv))
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _reproduce(options: argparse.Namespace, command: str) -> None:
    scale, experiments = scale_of(options), chosen(options.what)
    quick = "-quick" if options.quick else ""
    out: Path = options.out or Path(f"reproduction-{scale.name}{quick}")
    out.mkdir(parents=True, exist_ok=True)
    console, started = Console(), time.monotonic()
    with Progress(console) as progress:
        found = reproduce(
            experiments,
            scale,
            out,
            device=options.device,
            on_cell=progress.cell,
            on_event=progress.event,
            on_progress=progress.looked,
        )
    facts = {
        "command": command,
        "commit": _commit(),
        "device": _device(options.device),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "time of this call": f"{(time.monotonic() - started) / 60:.1f} minutes",
    }
    show(console, found, write_page(out, found, facts))


def chosen(what: str) -> list[Experiment]:
    """The experiments that a name stands for."""
    return [EXPERIMENTS[name] for name in (PAPERS_OWN if what == "all" else (what,))]


def scale_of(options: argparse.Namespace) -> Scale:
    """The scale that the command line describes.

    Raises:
        ConfigError: Jester without its data and models, or something that is not above zero.
    """
    scale = _jester(options) if options.scale == "jester" else puppet_scale(quick=options.quick)
    if options.motions:
        scale = replace(scale, motions=tuple(options.motions))
    if options.seeds:
        seeds = tuple(dict.fromkeys(options.seeds))
        scale = replace(scale, seeds=seeds, headline_seeds=seeds)
    scale = replace(scale, sets=(*scale.sets, *options.set))
    if options.prompts is not None:
        if options.prompts < 1:
            raise ConfigError("--prompts", f"is at least 1, got {options.prompts}", "e.g. 20")
        scale = replace(scale, prompts=options.prompts)
    return scale


def _jester(options: argparse.Namespace) -> Scale:
    needed = ("data", "base", "classifier", "clip_model")
    missing = [f"--{name.replace('_', '-')}" for name in needed if not getattr(options, name)]
    if missing or options.quick:
        raise ConfigError(
            "--scale jester",
            "cannot be quick" if options.quick else f"needs {', '.join(missing)}",
            "docs/reproduction.md says what each of them is",
        )
    return jester_scale(
        options.data,
        options.base,
        options.classifier,
        options.clip_model,
        options.copy_detector,
        options.copy_sha256,
    )


def _command(argv: Sequence[str] | None) -> str:
    return " ".join(["python -m jobs.reproduce", *(sys.argv[1:] if argv is None else argv)])


def _commit() -> str:
    """The commit that the code is at, if it lies in a git repository."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).parent
    ran = subprocess.run(
        [git, "-C", str(here), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.strip() or "unknown"


def _device(device: str | None) -> str:
    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    sys.exit(main())
