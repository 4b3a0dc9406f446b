"""Rebuild the models that this project ships, from nothing.

Example: ``python -m jobs.pretrain --stage clip --out clip``. A killed run goes on where it stopped
when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.clip_card import ClipReport, write_card
from motion_ray.evaluation.clip_data import draw_frames, draw_scenes, known_words, vae_round_trip
from motion_ray.evaluation.clip_model import write_model_folder
from motion_ray.evaluation.clip_scores import score_encoder
from motion_ray.evaluation.train_clip import ClipTraining, train_clip, trained_weights
from motion_ray.pretraining.settings import change_settings

DEFAULT_TEST_SCENES = 480


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.pretrain", description=__doc__)
    parser.add_argument("--stage", required=True, choices=sorted(STAGES), help="which model")
    parser.add_argument("--out", required=True, type=Path, help="new folder of the finished model")
    parser.add_argument("--work", type=Path, help="data and checkpoints (default: OUT.work)")
    parser.add_argument("--base", default="puppet", help="base model whose VAE softens frames")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument(
        "--test-scenes", type=int, default=DEFAULT_TEST_SCENES, help="unseen scenes to score on"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run the stage, print its scores; 2 on a wrong argument, 130 on Ctrl-C."""
    options = arguments().parse_args(argv)
    torch.set_num_threads(max(1, options.threads))
    try:
        STAGES[options.stage](options)
    except MotionRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def clip_stage(options: argparse.Namespace) -> None:
    """Train the image-text model, score it and write its folder."""
    settings = change_settings(ClipTraining(), options.set)
    out: Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}", "is there already", "name a new folder")
    backbone = load_backbone(options.base, "cpu")
    soften = vae_round_trip(backbone, settings.latent_noise, settings.seed)
    work: Path = options.work or out.with_name(out.name + ".work")
    console = Console()
    minutes = 0.0
    with progress_bar(console) as bar:
        tasks = {}
        for event in train_clip(settings, work, soften, backbone.vae_fingerprint):
            if event.stage not in tasks:
                tasks[event.stage] = bar.add_task(event.stage, total=event.total, note="")
            note = "" if event.loss is None else f"loss {event.loss:.3f}"
            bar.update(tasks[event.stage], completed=event.done, note=note)
            minutes = event.cpu_seconds / 60
    card = partial(clip_card, settings, backbone, minutes, options)
    write_model_folder(trained_weights(settings, work), out, card)
    console.print((out / "README.md").read_text(), markup=False, highlight=False)


def clip_card(
    settings: ClipTraining,
    backbone: UNet3DBackbone,
    minutes: float,
    options: argparse.Namespace,
    folder: Path,
) -> str:
    """Score the finished model on scenes that training did not see; the text of its card."""
    encoder = load_image_text_encoder(str(folder))
    scenes = draw_scenes(max(1, options.test_scenes), f"clip test {settings.seed}")
    real = torch.cat(list(draw_frames(scenes, 1, f"clip test frames {settings.seed}")))
    plain = vae_round_trip(backbone, 0.0, 0)
    soft = torch.cat([plain(part) for part in real.split(64)])
    changes = [word for change in options.set for word in ("--set", change)]
    command = ["python", "-m", "jobs.pretrain", "--stage", "clip", "--out", "clip", *changes]
    return write_card(
        ClipReport(
            settings=settings,
            command=shlex.join(command),
            vae=backbone.vae_fingerprint,
            minutes=minutes,
            device=f"{os.cpu_count()} cores ({platform.machine()}), {options.threads} threads",
            words=len(known_words()),
            parameters=sum(p.numel() for p in encoder.model.parameters()),
            tested=len(scenes),
            real=score_encoder(encoder, real, scenes),
            soft=score_encoder(encoder, soft, scenes),
        )
    )


def progress_bar(console: Console) -> Progress:
    """Stage, share done, loss and the time it will still take."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[note]}")
    return Progress(*columns, TimeRemainingColumn(), console=console)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {"clip": clip_stage}


if __name__ == "__main__":
    sys.exit(main())
