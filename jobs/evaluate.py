"""Score a base model of the puppet world, or a motion that was taught to it.

Examples: ``python -m jobs.evaluate --base-only --videos 500 --out scores`` and ``python -m
jobs.evaluate --store store --motion swinging-arms --out scores``. The whole protocol, with all
metrics, seeds, controls and statistics, is ``python -m jobs.evaluate --store store --motions
swinging-arms dabbing --out scores``. Rows of videos are kept in OUT; a killed run goes on where it
stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jobs.evaluate_protocol import add_arguments, evaluate_motions
from jobs.evaluate_view import progress_of, show_base, show_custom
from jobs.evaluate_workers import DEVICES
from jobs.idle_options import all_but, refuse_idle
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.cluster.paths import lasting_path
from motion_ray.config import SamplingConfig
from motion_ray.customization.run import check_place
from motion_ray.errors import ConfigError, MotionRayError, RunFolderError
from motion_ray.evaluation.base_scores import held_out_in_words, score_base
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.custom_scores import (
    custom_prompts,
    kind_of,
    motion_of,
    score_customized,
)
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.scene_prompts import ScenePrompt, balanced_prompts
from motion_ray.evaluation.scored_videos import PUPPET_SAMPLING, Bench
from motion_ray.evaluation.sheet import write_video_sheet
from motion_ray.files import write_text_atomic
from motion_ray.manifest import canonical_json
from motion_ray.store import DeltaStore

SHOWN_VIDEOS = 16
#: Options of every form of the command.
COMMON = ("base", "classifier", "clip_model", "steps", "guidance", "out", "threads", "device")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--base-only", action="store_true", help="score the base model alone")
    what.add_argument("--motion", help="name or name@version of a motion in the store")
    what.add_argument("--motions", nargs="+", metavar="NAME", help="the whole protocol on these")
    parser.add_argument("--store", help="folder or URI of the store")
    parser.add_argument("--as", dest="motion_name", help="what it is, if its name does not say")
    parser.add_argument("--base", default="puppet", help="'puppet' or a diffusers folder")
    parser.add_argument("--classifier", default="puppet", help="'puppet' or a folder")
    parser.add_argument("--clip-model", default="puppet", help="'puppet' or a folder")
    parser.add_argument("--videos", type=int, help="how many (default 500, with --motion 40)")
    parser.add_argument(
        "--named-each", type=int, default=6, help="videos of each held-out motion in words"
    )
    parser.add_argument("--steps", type=int, default=PUPPET_SAMPLING.steps)
    parser.add_argument("--guidance", type=float, default=PUPPET_SAMPLING.guidance)
    parser.add_argument("--out", type=Path, default=Path("scores"), help="folder (default scores)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, score, show; 1 if videos failed, 2 on a wrong argument, 130 on Ctrl-C."""
    parser = arguments()
    options = parser.parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        _check_options(parser, options)
        if options.motions:
            return evaluate_motions(options)
        if options.base_only:
            evaluate_base(options)
        else:
            evaluate_motion(options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last video", file=sys.stderr)
        return 130
    return 0


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.motions:
        idle = {"motion_name", "videos", "named_each"}
        refuse_idle(parser, options, idle, "is not for --motions")
    elif options.base_only:
        idle = all_but(parser, {*COMMON, "base_only", "videos", "named_each"})
        refuse_idle(parser, options, idle, "has no effect with --base-only")
    else:
        idle = all_but(parser, {*COMMON, "motion", "motion_name", "store", "videos"})
        refuse_idle(parser, options, idle, "has no effect with --motion, only with --motions")
    options.out = lasting_path(str(options.out), "--out", Path.cwd())
    check_place(options.out, "--out")


def evaluate_base(options: argparse.Namespace) -> None:
    """Score the base on held-out prompts."""
    bench, console = _bench(options), Console()
    prompts = balanced_prompts(500 if options.videos is None else options.videos)
    with progress_of(console) as told:
        scores = score_base(
            bench,
            prompts,
            named_prompts=held_out_in_words(max(0, options.named_each)),
            rows_file=options.out / "rows.jsonl",
            on_progress=told,
        )
    _write(options.out, scores.to_dict())
    _draw_sheet(bench, prompts, options.out / "sheet.png")
    show_base(console, scores, options.out)


def evaluate_motion(options: argparse.Namespace) -> None:
    """Score a motion of a store on kinds that its clips did not show."""
    if options.store is None:
        raise ConfigError("--store", "says where the motion is", "for example --store store")
    delta = DeltaStore(options.store).load(options.motion)
    motion = motion_of(options.motion_name or delta.header.name)
    videos = 40 if options.videos is None else options.videos
    prompts = custom_prompts(motion, delta.header.token, videos, kind_of(delta.header.template))
    bench, console = _bench(options), Console()
    with progress_of(console) as told:
        rows = options.out / "rows.jsonl"
        scores = score_customized(bench, delta, motion, prompts, rows_file=rows, on_progress=told)
    _write(options.out, scores.to_dict())
    with delta.applied(bench.backbone):
        _draw_sheet(bench, prompts, options.out / "sheet.png")
    show_custom(console, scores, options.out)


def _bench(options: argparse.Namespace) -> Bench:
    return Bench(
        backbone=load_backbone(options.base, DEVICES[options.device]),
        classifier=load_motion_classifier(options.classifier),
        encoder=load_image_text_encoder(options.clip_model),
        sampling=SamplingConfig(
            steps=options.steps, guidance=options.guidance, fps=PUPPET_SAMPLING.fps
        ),
    )


def _draw_sheet(bench: Bench, prompts: Sequence[ScenePrompt], path: Path) -> None:
    """The first videos as a picture; a video is the same whenever it is made."""
    some = prompts[:SHOWN_VIDEOS]
    videos = bench.generator().generate([p.text for p in some], [p.seed for p in some])
    write_video_sheet(path, [video.frames for video in videos], [p.text for p in some])


def _write(out: Path, scores: dict[str, Any]) -> None:
    write_text_atomic(out / "scores.json", canonical_json(scores), RunFolderError)


if __name__ == "__main__":
    sys.exit(main())
