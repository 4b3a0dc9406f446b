"""Make the paper's tables and figures again, and say of each claim whether it holds.

Examples: ``python -m jobs.reproduce table1 --scale puppet --out reproduction`` and ``python -m
jobs.reproduce all --quick``. Trains what is missing, evaluates it, and writes ``report.html`` and
``results.json`` into OUT. A killed reproduction goes on where it stopped when the same command is
given again, also with other ``--workers`` or on another cluster.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from jobs.idle_options import refuse_idle
from jobs.reproduce_tables import show
from jobs.reproduce_view import View
from jobs.reproduce_workers import workplace
from motion_ray.cluster.paths import lasting_path, with_absolute_paths
from motion_ray.customization.run import check_place
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.evaluation.evaluator import NOT_RUN
from motion_ray.evaluation.motion import own_accuracy
from motion_ray.precision import PRECISIONS
from motion_ray.reproduction.calls import Call, facts_of, recall, remember, without_places
from motion_ray.reproduction.experiment import Experiment
from motion_ray.reproduction.experiments import EXPERIMENTS, PAPERS_OWN
from motion_ray.reproduction.kept import FOLDER as KEPT
from motion_ray.reproduction.kept import Kept, keep, read_kept
from motion_ray.reproduction.page import RESULTS, write_page
from motion_ray.reproduction.publish import publish
from motion_ray.reproduction.record import Record
from motion_ray.reproduction.reproduce import Reproduction, reproduce
from motion_ray.reproduction.scale import Scale, jester_scale, puppet_scale
from motion_ray.reproduction.sections import sections_of

#: Options that name the data and models of that scale.
OF_JESTER = ("data", "base", "classifier", "clip_model", "copy_detector", "copy_sha256")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.reproduce", description=__doc__)
    parser.add_argument(
        "what", nargs="+", choices=[*EXPERIMENTS, "all"], help="all: the paper's own"
    )
    parser.add_argument("--scale", choices=["puppet", "jester"], default="puppet")
    parser.add_argument(
        "--quick", action="store_true", help="puppet scale, one motion, few steps and videos"
    )
    parser.add_argument("--motions", nargs="+", help="instead of the scale's")
    parser.add_argument("--seeds", nargs="+", type=int, help="of training, for every method")
    parser.add_argument(
        "--headline",
        nargs="+",
        choices=[*EXPERIMENTS, "all"],
        default=[],
        help="tables all of whose methods are trained as often as ours",
    )
    parser.add_argument("--prompts", type=int, help="how many, instead of the scale's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="a setting of every recipe"
    )
    parser.add_argument("--out", type=Path, help="folder (default reproduction-SCALE)")
    parser.add_argument("--data", type=Path, help="of Jester: motions/, regularization/, ..")
    parser.add_argument("--base", help="of Jester: a diffusers folder of ZeroScope")
    parser.add_argument("--classifier", help="of Jester: a folder of a video classifier")
    parser.add_argument("--clip-model", help="of Jester: a folder that open_clip loads")
    parser.add_argument(
        "--copy-detector", default=NOT_RUN, help="of Jester: SSCD's file, or 'immaculate'"
    )
    parser.add_argument("--copy-sha256", help="of a TorchScript file of SSCD")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of generation where videos are measured (--known may ask for another one)",
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument(
        "--workers", type=int, help="so many at once, on Ray: one GPU or a part of --threads each"
    )
    parser.add_argument(
        "--address", help="Ray cluster to work on, host:port or auto (default: RAY_ADDRESS)"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try cells and videos again that failed"
    )
    parser.add_argument(
        "--so-far", action="store_true", help="train nothing more, tell what is trained"
    )
    parser.add_argument("--plain", action="store_true", help="lines instead of a live display")
    parser.add_argument(
        "--publish", type=Path, metavar="FOLDER", help="also write a small form into FOLDER/SCALE"
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FOLDER",
        help="what was published into FOLDER/SCALE is not done again",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, reproduce, show; 1 if videos are missing, 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        failed = _reproduce(options, _command(argv))
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return stop.args[0] if stop.args else 130
    if failed:
        print(f"{failed} videos could not be made; --retry-failed tries again", file=sys.stderr)
    return 1 if failed else 0


def _reproduce(options: argparse.Namespace, command: str) -> int:
    """How many videos could not be made."""
    scale, experiments = scale_of(options), chosen(options.what, options.headline)
    quick = "-quick" if options.quick else ""
    named = options.out or f"reproduction-{scale.name}{quick}"
    out = lasting_path(str(named), "--out", Path.cwd())
    check_place(out, "--out")
    known = own_accuracy(scale.settings.classifier)  # now, not when all is trained
    kept, console = _known(options, scale), Console()
    out.mkdir(parents=True, exist_ok=True)
    found, calls = _work(options, command, scale, experiments, out, console, kept)
    sections = sections_of(found)
    spent = f"{len(found.trained)} cells, {found.seconds / 60:.0f} minutes of training in all"
    facts = {**facts_of(calls), "training": spent}
    if known:
        facts["motion classifier's own accuracy"] = f"{known} real clips that it had not seen"
    written = [write_page(out, found, sections, facts)]
    if options.publish is not None:
        shelf = lasting_path(str(options.publish), "--publish", Path.cwd())
        name = f"{scale.name}{quick}"
        written.append(publish(shelf / name, found, sections, facts))
        _keep(shelf / name, out, found, calls)
    show(console, found, sections, written)
    return found.failed_videos


def _known(options: argparse.Namespace, scale: Scale) -> Kept:
    if options.known is None:
        return Kept()
    return read_kept(lasting_path(str(options.known), "--known", Path.cwd()) / scale.name / KEPT)


def _keep(shelf: Path, out: Path, found: Reproduction, calls: Sequence[Call]) -> None:
    ends = [*found.trained, *found.findings.failed]
    videos = [file for made in found.videos.values() for _, file in made]
    placeless = [replace(call, command=without_places(call.command)) for call in calls]
    keep(shelf / KEPT, out, ends, videos, placeless)


def _work(
    options: argparse.Namespace,
    command: str,
    scale: Scale,
    experiments: Sequence[Experiment],
    out: Path,
    console: Console,
    kept: Kept,
) -> tuple[Reproduction, list[Call]]:
    """Do what is missing, and keep in mind who did it."""
    here, view, started = Path.cwd(), View(console, options.plain), time.monotonic()
    now = datetime.now(UTC)
    call = Call(command, _commit(), "", f"{now:%Y-%m-%d}", f"{now:%Y-%m-%d %H:%M:%S}")

    def begin(record: Record, videos: int) -> None:
        if record.waiting() and not options.so_far:
            remember(out, call, RESULTS)
        view.record(record, videos, trains=not options.so_far)

    try:
        with workplace(options, out, view) as place, view:
            call = replace(call, device=place.device)
            found = reproduce(
                experiments,
                scale,
                out,
                place,
                resolve=lambda config: with_absolute_paths(config, here),
                on_record=begin,
                on_trained=view.trained,
                on_progress=view.looked,
                retry_failed=options.retry_failed,
                so_far=options.so_far,
                kept=kept,
            )
    finally:
        call = replace(call, minutes=round((time.monotonic() - started) / 60, 1))
        if view.worked:
            remember(out, call, RESULTS)
    known = {each.key: each for each in (*kept.calls, *recall(out, RESULTS))}
    return found, list(known.values()) or [call]


def chosen(what: Iterable[str], headline: Iterable[str] = ()) -> list[Experiment]:
    """The experiments that names stand for, each once.

    Args:
        what: names of experiments, or ``all``.
        headline: of those whose methods are all headline methods.

    Raises:
        ConfigError: one of ``headline`` is not asked for.
    """
    named, often = _named(what), _named(headline)
    astray = [name for name in headline if name != "all" and name not in named]
    if astray:
        rule = f"names what is not asked for: {', '.join(astray)}"
        raise ConfigError("--headline", rule, f"for example --headline {named[0]}")
    return [
        replace(each, rows=tuple(replace(row, headline=True) for row in each.rows))
        if name in often
        else each
        for name, each in ((name, EXPERIMENTS[name]) for name in named)
    ]


def _named(what: Iterable[str]) -> list[str]:
    names = (n for name in what for n in (PAPERS_OWN if name == "all" else (name,)))
    return list(dict.fromkeys(names))


def scale_of(options: argparse.Namespace) -> Scale:
    """The scale that the command line describes.

    Raises:
        ConfigError: Jester without its data and models, or something that is not above zero.
    """
    if options.headline and (options.seeds or options.quick):
        other = "--seeds" if options.seeds else "--quick"
        rule = f"says what is trained as often as ours, and with {other} everything is"
        raise ConfigError("--headline", rule, "leave one of them out")
    if options.scale == "jester":
        scale = _jester(options)
    else:
        refuse_idle(arguments(), options, OF_JESTER, "is for --scale jester")
        scale = puppet_scale(quick=options.quick)
    if options.motions:
        scale = replace(scale, motions=tuple(options.motions))
    if options.seeds:
        seeds = tuple(dict.fromkeys(options.seeds))
        scale = replace(scale, seeds=seeds, headline_seeds=seeds)
    scale = replace(scale, sets=(*scale.sets, *options.set))
    scale = replace(scale, settings=replace(scale.settings, precision=options.precision))
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
    here = Path.cwd()

    def absolute(name: str) -> str:
        path = here / Path(name).expanduser()
        return str(path) if path.exists() else name

    return jester_scale(
        here / options.data.expanduser(),
        absolute(options.base),
        absolute(options.classifier),
        absolute(options.clip_model),
        absolute(options.copy_detector),
        options.copy_sha256,
    )


def _command(argv: Sequence[str] | None) -> str:
    return shlex.join(["python", "-m", "jobs.reproduce", *(sys.argv[1:] if argv is None else argv)])


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


if __name__ == "__main__":
    sys.exit(main())
