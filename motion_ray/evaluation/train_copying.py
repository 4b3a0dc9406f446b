"""Trains the embedded copy detector the way SSCD was trained (arXiv 2202.10261, section 4).

Two copies of a frame attract each other and all other frames of the batch repel (InfoNCE); besides,
each descriptor is pushed away from its nearest other one (the Kozachenko-Leonenko estimate of
entropy), which spreads unrelated frames over the sphere, so that one threshold suits all. The batch
is made of look-alike groups, so the nearest other frame is usually one that a careless detector
would take for a copy. Shapes: b batch, d length of a descriptor, s picture side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.evaluation.copying_data import GROUP, copied, group_scenes, most_alike
from motion_ray.evaluation.copying_network import DescriptorShape, build_descriptor, network_input
from motion_ray.pretraining.loop import (
    TrainingProgress,
    claim_work_folder,
    cpu_seconds_since,
    train,
)
from motion_ray.pretraining.one_model import OneModelTraining, checkpoints_of
from motion_ray.pretraining.parts import LongArray, Parts

SHAPE = DescriptorShape()
GROUPS_PER_PART, GROUPS_AT_ONCE = 128, 16
SECONDS = "cpu_seconds.txt"
CLOSEST = 1e-4  # distance below which two descriptors repel no more strongly


@dataclass(frozen=True)
class CopyTraining:
    """Settings of a training run; equal settings give equal weights on the same kind of machine.

    Attributes:
        groups: look-alike groups of frames.
        latent_noise: largest noise on the latents of frames that go through the VAE.
        steps: optimizer steps.
        batch_groups: groups in a step.
        temperature: of the contrastive loss; SSCD's.
        entropy: weight of the spreading term.
        lr: highest learning rate; warms up, then falls in a cosine to a hundredth.
        warmup: steps.
        weight_decay: AdamW's.
        checkpoint_every: steps.
        seed: of everything.
    """

    groups: int = 1536
    latent_noise: float = 0.3
    steps: int = 900
    batch_groups: int = 24
    temperature: float = 0.05
    entropy: float = 5.0
    lr: float = 2e-3
    warmup: int = 40
    weight_decay: float = 0.01
    checkpoint_every: int = 100
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset(
        {"seed", "latent_noise", "weight_decay", "entropy"}
    )


def copy_loss(one: Tensor, other: Tensor, temperature: float, entropy: float) -> Tensor:
    """InfoNCE over all copies of a batch, and the spreading term.

    Args:
        one: unit vectors ``[b, d]`` of one copy of each frame.
        other: of another copy, in the same order.
        temperature: of the cosines.
        entropy: weight of the mean of -log distance to the nearest copy of another frame.
    """
    count = len(one)
    vectors = torch.cat([one, other])
    cosines = vectors @ vectors.T
    itself = torch.eye(2 * count, dtype=torch.bool)
    partner = itself.roll(count, 1)
    target = torch.arange(2 * count).roll(count)
    contrast = functional.cross_entropy(
        (cosines / temperature).masked_fill(itself, -torch.inf), target
    )
    nearest = cosines.masked_fill(itself | partner, -torch.inf).max(1).values
    # |a - b|^2 = 2 - 2 a.b of unit vectors
    distance = (2 - 2 * nearest).clamp(min=CLOSEST**2).sqrt()
    return contrast - entropy * distance.log().mean()


def train_copying(
    settings: CopyTraining, work: Path, round_trip: RoundTrip, round_trip_name: str
) -> Iterator[TrainingProgress]:
    """Draw the frames and train, or go on where a killed run stopped.

    Args:
        settings: see :class:`CopyTraining`.
        work: folder for data and checkpoints.
        round_trip: frames through a VAE.
        round_trip_name: which VAE, so that a folder is not continued with another.

    Raises:
        RunFolderError: the folder belongs to a run with other settings.
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: the training diverged.
    """
    claim_work_folder(work, {**asdict(settings), "vae": round_trip_name})
    scenes = group_scenes(settings.groups, f"copying train {settings.seed}")
    parts = Parts(work / "frames", settings.groups, GROUPS_PER_PART)
    yield from _prepare(parts, scenes, round_trip, settings.seed)
    parts.verify()
    yield from train(
        _Trainer(settings, parts.open()),
        settings.steps,
        checkpoints_of(work),
        settings.checkpoint_every,
        sum(float(text) for text in parts.texts(SECONDS)),
    )


def _prepare(
    parts: Parts, scenes: list[PuppetScene], round_trip: RoundTrip, seed: int
) -> Iterator[TrainingProgress]:
    """A frame of each scene as drawn and through the VAE: rows ``[GROUP, 2, 3, s, s]``."""
    for number in parts.missing():
        rows = parts.rows_of(number)
        started = time.process_time()
        pairs: list[Tensor] = []
        for at in range(rows.start, rows.stop, GROUPS_AT_ONCE):
            end = min(at + GROUPS_AT_ONCE, rows.stop)
            clips = render_batch(scenes[at * GROUP : end * GROUP]).unflatten(0, (-1, GROUP))
            draws = [torch.Generator().manual_seed((seed << 32) + row) for row in range(at, end)]
            frames = torch.cat([most_alike(*each) for each in zip(clips, draws, strict=True)])
            pairs.append(torch.stack([frames, round_trip(frames)], 1))
            yield TrainingProgress("through the VAE", end, parts.rows, cpu_seconds_since(started))
        data = torch.cat(pairs).unflatten(0, (len(rows), GROUP))
        parts.write(number, data.numpy(), {SECONDS: f"{cpu_seconds_since(started):.3f}"})


class _Trainer(OneModelTraining):
    """The loop of :func:`train_copying`."""

    def __init__(self, settings: CopyTraining, frames: LongArray) -> None:
        self.settings, self.frames = settings, frames
        with torch.random.fork_rng(devices=[]):
            # Modules initialise themselves from the global generator.
            torch.manual_seed(settings.seed)
            self.model = build_descriptor(SHAPE)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        super().__init__(settings, self.model, optimizer)

    def loss(self, step: int) -> Tensor:
        """See :class:`OneModelTraining`."""
        s = self.settings
        vectors = functional.normalize(self.model(network_input(self._views(step))), dim=-1)
        one, other = vectors.chunk(2)
        return copy_loss(one, other, s.temperature, s.entropy)

    def _views(self, step: int) -> Tensor:
        """Two copies of each frame of a step, ``[2b, 3, s, s]``; each is drawn or from the VAE."""
        s = self.settings
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        # No group twice: a frame must not repel itself.
        chosen = torch.randperm(len(self.frames), generator=generator)[: s.batch_groups]
        pairs = self.frames.take(chosen).flatten(0, 1)
        index = torch.arange(len(pairs))
        views = [
            pairs[index, torch.randint(2, (len(pairs),), generator=generator)] for _ in range(2)
        ]
        return torch.cat([copied(view, generator) for view in views])
