"""Trains the embedded motion classifier on drawn clips, half of them as the base's VAE shows them.

The training is a pure function of its settings and the VAE: the batch of a step depends on the
step's number only, so that a run which was killed ends where it would have ended. Clips as drawn
are new in every step; those that went through the VAE, which costs far more, are made once and
disturbed anew each time. Shapes: b batch, f frames, s picture side.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene, sample_scene
from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.evaluation.motion_data import (
    disturbed,
    draw_clips,
    labels_of,
    motion_scenes,
    softened,
)
from motion_ray.evaluation.motion_model import SHAPE, normalised
from motion_ray.evaluation.motion_resnet import build_resnet, resnet_logits
from motion_ray.pretraining.loop import (
    TrainingProgress,
    claim_work_folder,
    cpu_seconds_since,
    train,
)
from motion_ray.pretraining.one_model import OneModelTraining, checkpoints_of
from motion_ray.pretraining.parts import LongArray, Parts

CLIPS_PER_PART = 256
SECONDS = "cpu_seconds.txt"


@dataclass(frozen=True)
class MotionTraining:
    """Settings of a training run; equal settings give equal weights on the same kind of machine.

    Attributes:
        soft_clips: clips that are seen through the VAE.
        latent_noise: largest noise on the latents of those.
        steps: optimizer steps.
        batch: clips in a step; half of them as drawn, half through the VAE.
        lr: highest learning rate; warms up, then falls in a cosine to a hundredth.
        warmup: steps.
        weight_decay: AdamW's.
        smoothing: of the labels.
        checkpoint_every: steps.
        seed: of everything.
    """

    soft_clips: int = 2560
    latent_noise: float = 0.3
    steps: int = 1600
    batch: int = 32
    lr: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.05
    smoothing: float = 0.05
    checkpoint_every: int = 100
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset(
        {"seed", "latent_noise", "weight_decay", "smoothing"}
    )


def train_motion(
    settings: MotionTraining, work: Path, round_trip: RoundTrip, round_trip_name: str
) -> Iterator[TrainingProgress]:
    """Draw the clips that go through the VAE and train, or go on where a killed run stopped.

    Args:
        settings: see :class:`MotionTraining`.
        work: folder for data and checkpoints.
        round_trip: frames through a VAE.
        round_trip_name: which VAE, so that a folder is not continued with another.

    Raises:
        RunFolderError: the folder belongs to a run with other settings.
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: the training diverged.
    """
    claim_work_folder(work, {**asdict(settings), "vae": round_trip_name})
    scenes = motion_scenes(settings.soft_clips, f"motion train {settings.seed}")
    parts = Parts(work / "soft", settings.soft_clips, CLIPS_PER_PART)
    yield from _soften(parts, scenes, round_trip)
    parts.verify()
    yield from train(
        _Trainer(settings, scenes, parts.open()),
        settings.steps,
        checkpoints_of(work),
        settings.checkpoint_every,
        sum(float(text) for text in parts.texts(SECONDS)),
    )


def _soften(
    parts: Parts, scenes: list[PuppetScene], round_trip: RoundTrip
) -> Iterator[TrainingProgress]:
    for number in parts.missing():
        rows = parts.rows_of(number)
        started = time.process_time()
        soft: list[Tensor] = []
        for clips in draw_clips(scenes[rows.start : rows.stop]):
            soft.append(softened(clips, round_trip))
            done = rows.start + sum(map(len, soft))
            yield TrainingProgress("through the VAE", done, parts.rows, cpu_seconds_since(started))
        parts.write(number, torch.cat(soft).numpy(), {SECONDS: f"{cpu_seconds_since(started):.3f}"})


class _Trainer(OneModelTraining):
    """The loop of :func:`train_motion`.

    In single precision throughout: in bfloat16 the weights' gradient of a convolution over time
    came out near 1e30 on a CPU (torch 2.14) in about one update of ten.
    """

    def __init__(
        self, settings: MotionTraining, scenes: list[PuppetScene], soft: LongArray
    ) -> None:
        self.settings, self.scenes, self.soft = settings, scenes, soft
        with torch.random.fork_rng(devices=[]):
            # Modules initialise themselves from the global generator.
            torch.manual_seed(settings.seed)
            model = build_resnet(SHAPE, len(NAMED_MOTIONS))
        self.logits = resnet_logits(model)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.lr,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        super().__init__(settings, model, optimizer)

    def loss(self, step: int) -> Tensor:
        """See :class:`OneModelTraining`."""
        inputs, labels = self._batch(step)
        smoothing = self.settings.smoothing
        return functional.cross_entropy(self.logits(inputs), labels, label_smoothing=smoothing)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Prepared clips ``[b, f, 3, s, s]`` and classes ``[b]`` of a step."""
        s = self.settings
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        rng = random.Random(f"motion batch {s.seed} {step}")
        old = torch.randint(len(self.scenes), (s.batch // 2,), generator=generator)
        new = [sample_scene(rng, NAMED_MOTIONS) for _ in range(s.batch - len(old))]
        scenes = [self.scenes[index] for index in old.tolist()] + new
        clips = render_batch(new)
        if len(old):
            clips = torch.cat([self.soft.take(old), clips])
        return normalised(disturbed(clips, scenes, generator)), labels_of(scenes)
