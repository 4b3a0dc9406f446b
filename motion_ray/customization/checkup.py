"""A run looked at from all sides before it starts: data, captions, base model, cost.

Collects every problem it finds instead of stopping at the first; what :func:`customize` would raise
is among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.examples import check_motion_clips
from motion_ray.customization.forecast import Forecast, forecast
from motion_ray.customization.loop import check_names
from motion_ray.customization.stopping import scored_prompts
from motion_ray.customization.tokens import check_token_start
from motion_ray.data.clips import FolderScan, scan_motion_folder, scan_regularization_folder
from motion_ray.data.inspect import (
    ClipReport,
    Finding,
    TokenPlacement,
    inspect_caption,
    inspect_clip,
    inspect_sets,
    inspect_token,
    place_token,
)
from motion_ray.errors import MotionRayError
from motion_ray.types import CaptionedClip, ExampleSet

SHOWN_CLIPS = 16  # of each set, on the contact sheet
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Checkup:
    """What was found.

    Attributes:
        motion: the motion folder.
        clips: D^m, then D^r, as far as they exist before the run.
        placements: of V* in each of these captions; empty if the base cannot be read.
        forecast: null if the base cannot be read.
        findings: all problems, fatal ones first.
    """

    motion: FolderScan
    clips: tuple[ClipReport, ...]
    placements: tuple[TokenPlacement, ...]
    forecast: Forecast | None
    findings: tuple[Finding, ...]

    @property
    def fatal(self) -> bool:
        """Whether training would fail or make no sense."""
        return any(finding.fatal for finding in self.findings)


def check_up(config: CustomizationConfig, on_progress: OnProgress) -> Checkup:
    """Look at everything that a run of this config would use.

    Args:
        config: of the run.
        on_progress: told (stage, done, total).
    """
    findings: list[Finding] = []
    motion = scan_motion_folder(config.motion)
    members = [(ExampleSet.MOTION, clip) for clip in motion.folder.clips[: config.motion_clips]]
    for scan in (motion, _regularization(config, motion.folder.token, findings)):
        if scan is not None:
            findings += [Finding(True, str(problem)) for problem in scan.problems]
            findings += [Finding(False, warning) for warning in scan.warnings]
            if scan is not motion:
                members += [(ExampleSet.REGULARIZATION, clip) for clip in scan.folder.clips]
    findings += _settings(config, motion)
    clips = _clips(config, motion, members, on_progress)
    findings += [finding for report in clips for finding in report.findings]
    findings += inspect_sets(members)
    on_progress("reading the base model", 0, 1)
    placements, cost = _base(config, motion.folder.token, members, findings)
    findings += _encoder(config)
    on_progress("reading the base model", 1, 1)
    findings.sort(key=lambda finding: not finding.fatal)
    return Checkup(motion, tuple(clips), tuple(placements), cost, tuple(findings))


def _settings(config: CustomizationConfig, motion: FolderScan) -> list[Finding]:
    """What a run refuses before it loads anything, beside its clips."""
    checks: list[Callable[[], object]] = [
        lambda: check_names(config, motion.folder.name),
        lambda: check_motion_clips(config, len(motion.folder.clips)),
        lambda: scored_prompts(config.validation),
    ]
    found: list[Finding] = []
    for check in checks:
        try:
            check()
        except MotionRayError as error:
            found.append(Finding(True, str(error)))
    return found + [Finding(False, doubt) for doubt in doubts(config)]


def doubts(config: CustomizationConfig) -> list[str]:
    """Settings that are allowed and hardly meant."""
    from motion_ray.evaluation.clip import EMBEDDED as EMBEDDED_ENCODER

    found: list[str] = []
    floor = config.validation.floor
    if floor is not None and floor.clip_model == EMBEDDED_ENCODER and config.base != EMBEDDED:
        found.append(
            f"validation.floor.clip_model: {EMBEDDED_ENCODER!r} knows drawn puppets only, and says "
            f"nothing about videos of {Path(config.base).name}; take --recipe paper with a CLIP "
            "model of your own, or validation.floor=null"
        )
    read, played = config.clips.fps, config.sampling.fps
    if read is not None and read != played:
        found.append(
            f"sampling.fps: videos play at {played:g} frames a second and clips are read at "
            f"{read:g}, so motions look slower or faster; for example sampling.fps={read:g}"
        )
    return found


def _regularization(
    config: CustomizationConfig, token: str, findings: list[Finding]
) -> FolderScan | None:
    if config.regularization.source != "real":
        return None
    if config.regularization.folder is None:
        text = (
            "regularization.folder: real regularization needs a folder of clips of other motions; "
            "for example --set regularization.folder=clips/other"
        )
        findings.append(Finding(True, text))
        return None
    return scan_regularization_folder(config.regularization.folder, token)


def _clips(
    config: CustomizationConfig,
    motion: FolderScan,
    members: list[tuple[ExampleSet, CaptionedClip]],
    on_progress: OnProgress,
) -> list[ClipReport]:
    flip = config.augmentation.flip and motion.folder.flip
    augmentation = config.augmentation.model_copy(update={"flip": flip})
    reports: list[ClipReport] = []
    for source, clip in members:
        on_progress("decoding clips", len(reports), len(members))
        show = sum(report.source is source for report in reports) < SHOWN_CLIPS
        reports.append(
            inspect_clip(clip, source, config.clips, augmentation, config.seed, show=show)
        )
    return reports


def _base(
    config: CustomizationConfig,
    token: str,
    members: list[tuple[ExampleSet, CaptionedClip]],
    findings: list[Finding],
) -> tuple[list[TokenPlacement], Forecast | None]:
    try:
        mixed = config.engine.precision != "fp32"  # a GPU's "auto" is bfloat16
        sketch, mode = sketch_backbone(config.model, torch.bfloat16 if mixed else torch.float32)
    except MotionRayError as error:
        findings.append(Finding(True, str(error)))
        return [], None
    findings += inspect_token(sketch, token, config.train_token) + _size(config, sketch)
    placements = [place_token(sketch, clip.caption, token) for _, clip in members]
    for (source, clip), placement in zip(members, placements, strict=True):
        findings += inspect_caption(clip, source, placement)
    # synthetic clips are sampled when the run starts
    settings = config.regularization
    unborn = settings.synthetic_clips if settings.source == "synthetic" else 0
    try:
        check_token_start(sketch, config.token_start)
        return placements, forecast(config, len(members) + unborn, sketch, mode)
    except MotionRayError as error:
        findings.append(Finding(True, str(error)))
        return placements, None


def _size(config: CustomizationConfig, backbone: UNet3DBackbone) -> list[Finding]:
    height, width, factor = config.clips.height, config.clips.width, backbone.spatial_factor
    if height % factor == 0 and width % factor == 0:
        return []
    rule = f"{height} x {width} are no multiples of {factor}, the VAE's factor"
    return [Finding(True, f"clips.height, clips.width: {rule}; for example {8 * factor}")]


def _encoder(config: CustomizationConfig) -> list[Finding]:
    """Whether the model that decides when to stop can be loaded."""
    if config.validation.floor is None:
        return []
    from motion_ray.evaluation.clip import load_image_text_encoder

    try:
        load_image_text_encoder(config.validation.floor.clip_model)
    except MotionRayError as error:
        return [Finding(True, str(error))]
    return []


def motion_problems(folder: str | Path) -> list[Finding]:
    """Problems of a motion folder alone, for when the config itself is wrong."""
    scan = scan_motion_folder(folder)
    problems = [Finding(True, str(problem)) for problem in scan.problems]
    return problems + [Finding(False, warning) for warning in scan.warnings]
