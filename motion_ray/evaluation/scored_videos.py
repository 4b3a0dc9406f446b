"""Generating or drawing the videos of prompts and looking at them, batch by batch, into rows.

Shapes: n videos, f frames, s picture side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.data.puppets.render import FRAMES, SIZE, render_batch
from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.clip_data import vae_round_trip
from motion_ray.evaluation.motion import MotionClassifier
from motion_ray.evaluation.recognition import Recogniser
from motion_ray.evaluation.rows import RowFile, VideoRow
from motion_ray.evaluation.scene_prompts import ScenePrompt
from motion_ray.generation import VideoGenerator
from motion_ray.precision import resolved_name

OnProgress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much it is in all."""

#: How the embedded model is sampled, unless a caller says otherwise.
PUPPET_SAMPLING = SamplingConfig(steps=15, guidance=3.0, fps=8.0)
PUPPET_CLIPS = ClipConfig(frames=FRAMES, height=SIZE, width=SIZE)


@dataclass(frozen=True)
class Bench:
    """A base model with the evaluators around it: everything that a row depends on.

    Attributes:
        backbone: the base; a motion may be applied to it.
        classifier: of motions.
        encoder: of frames and phrases.
        sampling: how videos are generated.
        precision: of the generation.
        batch_size: videos at a time; a video does not depend on it.
    """

    backbone: UNet3DBackbone
    classifier: MotionClassifier
    encoder: OpenClipEncoder
    sampling: SamplingConfig = PUPPET_SAMPLING
    precision: str = "auto"
    batch_size: int = 8

    def identity(self) -> dict[str, Any]:
        """What rows were measured with, by hash."""
        return {
            "base": self.backbone.fingerprint,
            "motion classifier": self.classifier.sha256,
            "image-text model": self.encoder.weights_sha256,
            "sampling": self.sampling.model_dump(mode="json"),
            "precision": resolved_name(self.precision, self.backbone.device),
        }

    def generator(self) -> VideoGenerator:
        """Of videos as the puppet world has them."""
        return VideoGenerator(
            self.backbone, self.sampling, PUPPET_CLIPS, self.precision, self.batch_size
        )


def score_generated(
    bench: Bench,
    prompts: Sequence[ScenePrompt],
    rows: RowFile,
    part: str,
    on_progress: OnProgress | None = None,
) -> list[VideoRow]:
    """Generate a video for each prompt and note what it shows.

    Args:
        bench: models and settings.
        prompts: what to ask for.
        rows: gets every batch as soon as it is done; what it has is not generated again.
        part: under which name.
        on_progress: told after every batch.

    Raises:
        RunFolderError: the rows cannot be written.
    """
    generator = bench.generator()

    def generate(some: Sequence[ScenePrompt]) -> Tensor:
        videos = generator.generate([p.text for p in some], [p.seed for p in some])
        return torch.stack([video.frames for video in videos])

    return _score(bench, prompts, rows, part, generate, on_progress)


def score_real(
    bench: Bench,
    prompts: Sequence[ScenePrompt],
    rows: RowFile,
    part: str,
    on_progress: OnProgress | None = None,
) -> list[VideoRow]:
    """Draw the scene of each prompt, pass it through the base's VAE and note what it shows.

    That is the ceiling: what the evaluators see of videos that are right. Arguments as of
    :func:`score_generated`.
    """
    soften = vae_round_trip(bench.backbone, 0.0, 0)

    def draw(some: Sequence[ScenePrompt]) -> Tensor:
        drawn = render_batch([p.scene for p in some])
        return soften(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2])

    return _score(bench, prompts, rows, part, draw, on_progress)


def _score(
    bench: Bench,
    prompts: Sequence[ScenePrompt],
    rows: RowFile,
    part: str,
    make: Callable[[Sequence[ScenePrompt]], Tensor],
    on_progress: OnProgress | None,
) -> list[VideoRow]:
    recogniser = Recogniser(bench.classifier, bench.encoder)
    missing = [i for i, prompt in enumerate(prompts) if not rows.has(part, i, prompt)]
    done = len(prompts) - len(missing)
    for at in range(0, len(missing), bench.batch_size):
        numbers = missing[at : at + bench.batch_size]
        some = [prompts[number] for number in numbers]
        seen = recogniser.look(make(some), [prompt.scene for prompt in some])
        rows.add(VideoRow(part, *each) for each in zip(numbers, some, seen, strict=True))
        done += len(numbers)
        if on_progress is not None:
            on_progress(part, done, len(prompts))
    return rows.of(part, len(prompts))
