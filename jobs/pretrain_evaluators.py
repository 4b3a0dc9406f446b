"""The evaluators' stages of jobs/pretrain.py: image-text model, motion classifier, copy detector.

Each trains, scores what it made on scenes that training did not see, and writes a folder with a
card that tells the scores.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from jobs.pretrain_view import follow
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.errors import ConfigError
from motion_ray.evaluation import copying_model, motion_card, train_copying, train_motion
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.clip_card import ClipReport, write_card
from motion_ray.evaluation.clip_data import draw_frames, draw_scenes, known_words, vae_round_trip
from motion_ray.evaluation.clip_model import write_model_folder
from motion_ray.evaluation.clip_scores import score_encoder
from motion_ray.evaluation.copying_calibration import (
    closeness,
    draw_trials,
    false_alarms,
    threshold_at,
)
from motion_ray.evaluation.copying_network import NetworkDetector, build_descriptor
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.motion_data import motion_scenes
from motion_ray.evaluation.motion_model import write_motion_folder
from motion_ray.evaluation.motion_scores import score_classifier
from motion_ray.evaluation.train_clip import ClipTraining, train_clip
from motion_ray.evaluation.train_copying import CopyTraining
from motion_ray.evaluation.train_motion import MotionTraining
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.one_model import trained_weights
from motion_ray.pretraining.settings import change_settings

DEFAULT_BASE = "puppet"
DEFAULT_TEST_SCENES = 480


def clip_stage(options: argparse.Namespace) -> None:
    """Train the image-text model, score it and write its folder."""
    settings = change_settings(ClipTraining(), options.set)
    out = _new_folder(options)
    backbone = load_backbone(options.base, "cpu")
    soften = vae_round_trip(backbone, settings.latent_noise, settings.seed)
    work = _work_folder(options)
    minutes = _train(train_clip(settings, work, soften, backbone.vae_fingerprint))
    card = partial(_clip_card, settings, backbone, minutes, options)
    write_model_folder(trained_weights(settings, work), out, card)
    _show(out)


def _clip_card(
    settings: ClipTraining,
    backbone: UNet3DBackbone,
    minutes: float,
    options: argparse.Namespace,
    folder: Path,
) -> str:
    encoder = load_image_text_encoder(str(folder))
    scenes = draw_scenes(max(1, options.test_scenes), f"clip test {settings.seed}", "test")
    real = torch.cat(list(draw_frames(scenes, 1, f"clip test frames {settings.seed}")))
    plain = vae_round_trip(backbone, 0.0, 0)
    soft = torch.cat([plain(part) for part in real.split(64)])
    return write_card(
        ClipReport(
            settings=settings,
            command=card_command("clip", options),
            vae=backbone.vae_fingerprint,
            minutes=minutes,
            device=_device(options),
            words=len(known_words()),
            parameters=_count(encoder.model),
            tested=len(scenes),
            real=score_encoder(encoder, real, scenes),
            soft=score_encoder(encoder, soft, scenes),
        )
    )


def motion_stage(options: argparse.Namespace) -> None:
    """Train the motion classifier, score it and write its folder."""
    settings = change_settings(MotionTraining(), options.set)
    out = _new_folder(options)
    backbone = load_backbone(options.base, "cpu")
    soften = vae_round_trip(backbone, settings.latent_noise, settings.seed)
    work = _work_folder(options)
    minutes = _train(train_motion.train_motion(settings, work, soften, backbone.vae_fingerprint))

    def card(folder: Path) -> str:
        classifier = load_motion_classifier(str(folder))
        count = max(1, options.test_scenes)
        scenes = motion_scenes(count, f"motion test {settings.seed}", "test")
        scores = score_classifier(classifier, scenes, vae_round_trip(backbone, 0.0, 0))
        return motion_card.write_card(
            motion_card.MotionReport(
                settings=settings,
                command=card_command("motion", options),
                vae=backbone.vae_fingerprint,
                minutes=minutes,
                device=_device(options),
                parameters=_count(classifier.model),
                scores=scores,
            )
        )

    write_motion_folder(trained_weights(settings, work), out, card)
    _show(out)


def copying_stage(options: argparse.Namespace) -> None:
    """Train the copy detector, choose its threshold and write its folder."""
    settings = change_settings(CopyTraining(), options.set)
    out = _new_folder(options)
    backbone = load_backbone(options.base, "cpu")
    soften = vae_round_trip(backbone, settings.latent_noise, settings.seed)
    work = _work_folder(options)
    minutes = _train(train_copying.train_copying(settings, work, soften, backbone.vae_fingerprint))
    weights = trained_weights(settings, work)
    model = build_descriptor(train_copying.SHAPE)
    # As the folder's reader will have them, after half precision.
    halved = copying_model.halved(weights)
    model.load_state_dict(halved)
    model.eval().requires_grad_(False)
    detector = NetworkDetector("new", "", 1.0, model, torch.device("cpu"))
    plain = vae_round_trip(backbone, 0.0, 0)
    count = max(1, options.test_scenes)
    chosen_on = false_alarms(detector, draw_trials(count, "copying, threshold"), plain)
    threshold = threshold_at(chosen_on.others)
    scenes = motion_scenes(max(1, count // 2), f"copying test {settings.seed}", "test")
    report = copying_model.CopyReport(
        settings=settings,
        command=card_command("copying", options),
        vae=backbone.vae_fingerprint,
        minutes=minutes,
        device=_device(options),
        parameters=_count(model),
        threshold=threshold,
        chosen_on=chosen_on,
        fresh=false_alarms(detector, draw_trials(count, "copying, test"), plain),
        copies=closeness(detector, scenes, plain),
    )
    card = copying_model.write_card(report)
    copying_model.write_copying_folder(weights, out, threshold, card)
    _show(out)


#: For jobs/pretrain.py.
EVALUATOR_STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "clip": clip_stage,
    "motion": motion_stage,
    "copying": copying_stage,
}


def _train(events: Iterable[TrainingProgress]) -> float:
    """Show a training until it has finished; returns its minutes of processor time."""
    last = follow(events, Console())
    return 0.0 if last is None else last.cpu_seconds / 60


def _new_folder(options: argparse.Namespace) -> Path:
    out: Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}", "is there already", "name a new folder")
    return out


def _work_folder(options: argparse.Namespace) -> Path:
    return options.work or options.out.with_name(options.out.name + ".work")


def card_command(stage: str, options: argparse.Namespace) -> str:
    """All that decides what comes out; where it lies does not."""
    command = ["python", "-m", "jobs.pretrain", "--stage", stage, "--out", stage]
    if options.base != DEFAULT_BASE:
        command += ["--base", options.base]
    if options.test_scenes != DEFAULT_TEST_SCENES:
        command += ["--test-scenes", str(options.test_scenes)]
    changes = [word for change in options.set for word in ("--set", change)]
    return shlex.join([*command, *changes])


def _device(options: argparse.Namespace) -> str:
    return f"{os.cpu_count()} cores ({platform.machine()}), {options.threads} threads"


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _show(out: Path) -> None:
    Console().print((out / "README.md").read_text(), markup=False, highlight=False)
