"""What a finished run shows: new characters without and with the motion, from the delta as it was
published.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from motion_ray.config import CustomizationConfig, ValidationConfig
from motion_ray.customization.examples import ClipLists
from motion_ray.customization.models import FROM_DISK, ModelSource
from motion_ray.customization.run import RunFolder
from motion_ray.data.augment import apply_augmentation, plain_draw
from motion_ray.data.video import read_clip, write_video
from motion_ray.evaluation.prompts import SLOT, EvalPrompt
from motion_ray.evaluation.report import ReportContext, write_report
from motion_ray.generation import VideoGenerator
from motion_ray.store import DeltaStore
from motion_ray.types import CaptionedClip, RunFinished

SHOWN_PROMPTS = 8
SHOWN_CLIPS = 8
FALLBACK_PROMPTS = (f"a person {SLOT}",)
OnProgress = Callable[[str, int, int], None]


def shown_prompts(settings: ValidationConfig) -> tuple[str, ...]:
    """Templates of the report's videos, each made without and with the motion."""
    return (settings.prompts or FALLBACK_PROMPTS)[:SHOWN_PROMPTS]


def make_report(
    config: CustomizationConfig,
    run: RunFolder,
    clips: ClipLists,
    store: DeltaStore,
    result: RunFinished,
    on_progress: OnProgress,
    *,
    device: str | None = None,
    models: ModelSource = FROM_DISK,
) -> Path:
    """Generate the samples and write ``report.html``.

    The delta is loaded from the store into a fresh base, so that the page shows what a user will
    get.
    """
    on_progress("generating samples", 0, 1)
    delta = store.load(result.delta)
    backbone = models.base(config.model, device, config.engine.arithmetic)
    generator = VideoGenerator(backbone, config.sampling, config.clips, config.engine.arithmetic)
    templates = shown_prompts(config.validation)
    phrase = config.validation.phrase
    prompts = [EvalPrompt(t).with_token(clips.folder.token, phrase) for t in templates]
    seeds = [
        1000 + index for index in range(len(prompts))
    ]  # not the seeds that decided when to stop
    total = 2 * config.sampling.steps

    def sample(kind: str, before: int) -> list[Path]:
        videos = generator.generate(
            prompts,
            seeds,
            on_step=lambda done, steps: on_progress(
                "generating samples", before + done * config.sampling.steps // steps, total
            ),
        )
        return [
            _write(run.samples / f"{kind}-{i:02d}.mp4", v.frames, v.fps)
            for i, v in enumerate(videos)
        ]

    without = sample("before", 0)
    with delta.applied(backbone):
        with_motion = sample("after", config.sampling.steps)
    context = ReportContext(
        title=clips.folder.name,
        token=clips.folder.token,
        prompt_pairs=list(zip(prompts, without, with_motion, strict=True)),
        training=[
            (clip.caption, _training_clip(run.samples / f"training-{i:02d}.mp4", clip, config))
            for i, clip in enumerate(clips.motion[:SHOWN_CLIPS])
        ],
        metrics=run.read_metrics(),
        config=config.model_dump(mode="json"),
        facts=_facts(config, clips, result, str(backbone.device)),
        delta=result.delta,
        store=result.store,
    )
    return write_report(run.root, context)


def _training_clip(target: Path, source: CaptionedClip, config: CustomizationConfig) -> Path:
    """The frames that training sees of a clip (variant 0: no augmentation), as a file a browser
    plays.
    """
    frames = read_clip(source.path, config.clips, frame_fps=source.frame_fps).frames
    height, width = config.clips.height, config.clips.width
    plain = plain_draw((frames.shape[-2], frames.shape[-1]), (height, width))
    return _write(target, apply_augmentation(frames, plain, height, width), config.sampling.fps)


def _write(path: Path, frames: Tensor, fps: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps)
    return path


def _facts(
    config: CustomizationConfig, clips: ClipLists, result: RunFinished, device: str
) -> dict[str, str]:
    reasons = {
        "appearance_floor": "CLIP appearance fell to its floor",
        "max_steps": "the last step was reached",
    }
    return {
        "base model": config.model,
        "recipe": config.recipe,
        "training clips": f"{len(clips.motion)} (regularization: {len(clips.regularization)})",
        "steps": f"{result.step}, delta from step {result.delta_step}",
        "stopped because": reasons[result.reason],
        "device": device,
        "delta": result.delta,
        "sha256": result.sha256,
    }
