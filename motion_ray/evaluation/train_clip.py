"""Trains the embedded image-text model: contrastively (InfoNCE), on the described puppet world.

The training is a pure function of its settings and the VAE: the batch of a step depends on the
step's number only, and a checkpoint holds weights, statistics and optimizer state, so that a run
which was killed ends where it would have ended. Shapes: b batch, e embedding width, n frames, s
picture side.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from open_clip.model import CLIP
from torch import Tensor
from torch.nn import functional

from motion_ray.errors import CheckpointError
from motion_ray.evaluation.clip_data import (
    RoundTrip,
    blurred,
    describe,
    draw_frames,
    draw_scenes,
    true_pairs,
)
from motion_ray.evaluation.clip_model import MEAN, STD, build_tokenizer, model_config
from motion_ray.evaluation.disturb import shifted
from motion_ray.files import atomic_directory
from motion_ray.precision import compute_context
from motion_ray.pretraining.loop import (
    TrainingProgress,
    claim_work_folder,
    cpu_seconds_since,
    train,
)
from motion_ray.pretraining.one_model import OneModelTraining, checkpoints_of
from motion_ray.tensors import read_tensors, write_tensors

HIGHEST_SCALE = math.log(100)  # of the learned inverse temperature, as in CLIP
WIDEST_SHIFT = 3  # pixels


@dataclass(frozen=True)
class ClipTraining:
    """Settings of a training run; equal settings give equal weights on the same kind of machine.

    Attributes:
        scenes: training scenes, drawn from ``seed``.
        frames_per_scene: different frames kept of each.
        round_trip_share: share of the frames that are also seen through the VAE.
        latent_noise: largest noise on the latents of those.
        steps: optimizer steps.
        batch: frames and descriptions in a step.
        lr: highest learning rate; warms up, then falls in a cosine to a hundredth.
        warmup: steps.
        weight_decay: AdamW's, on matrices.
        checkpoint_every: steps.
        seed: of everything.
    """

    scenes: int = 12000
    frames_per_scene: int = 2
    round_trip_share: float = 0.25
    latent_noise: float = 0.3
    steps: int = 1000
    batch: int = 256
    lr: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.1
    checkpoint_every: int = 100
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset({"seed", "latent_noise", "weight_decay"})


@dataclass(frozen=True)
class _Frames:
    clean: Tensor  # uint8 [n, 3, s, s], frames_per_scene for each scene in turn
    soft: Tensor  # uint8 [m, 3, s, s]: every stride-th of them through the VAE
    stride: int
    cpu_seconds: float


def contrastive_loss(image: Tensor, text: Tensor, log_scale: Tensor, true: Tensor) -> Tensor:
    """InfoNCE in both directions; texts that are true of another frame are not its negatives.

    Args:
        image: unit vectors ``[b, e]``.
        text: unit vectors ``[b, e]``, the i-th describes the i-th frame.
        log_scale: logarithm of the inverse temperature.
        true: bool ``[b, b]``, whether text j is true of frame i.
    """
    logits = log_scale.exp() * image @ text.T
    own = torch.eye(len(image), dtype=torch.bool)
    logits = logits.masked_fill(true & ~own, -torch.inf)
    target = torch.arange(len(image))
    return (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    ) / 2


def train_clip(
    settings: ClipTraining, work: Path, round_trip: RoundTrip, round_trip_name: str
) -> Iterator[TrainingProgress]:
    """Draw the data and train, or go on where a killed run stopped.

    Args:
        settings: see :class:`ClipTraining`.
        work: folder for data and checkpoints.
        round_trip: frames through a VAE.
        round_trip_name: which VAE, so that a folder is not continued with another.

    Raises:
        RunFolderError: the folder belongs to a run with other settings.
        CheckpointError: the disk is full, or no checkpoint is usable.
    """
    claim_work_folder(work, {**asdict(settings), "vae": round_trip_name})
    scenes = draw_scenes(settings.scenes, f"clip train {settings.seed}")
    if not (work / "frames").exists():
        yield from _prepare(settings, scenes, work / "frames", round_trip)
    data = _read_frames(work / "frames", settings)
    yield from train(
        _Trainer(settings, scenes, data),
        settings.steps,
        checkpoints_of(work),
        settings.checkpoint_every,
        data.cpu_seconds,
    )


def _prepare(
    settings: ClipTraining, scenes: Sequence[Any], folder: Path, round_trip: RoundTrip
) -> Iterator[TrainingProgress]:
    started = time.process_time()
    clean: list[Tensor] = []
    total = settings.scenes * settings.frames_per_scene
    for part in draw_frames(scenes, settings.frames_per_scene, f"clip frames {settings.seed}"):
        clean.append(part)
        yield TrainingProgress(
            "drawing scenes", sum(map(len, clean)), total, cpu_seconds_since(started)
        )
    frames = torch.cat(clean)
    chosen = frames[:: _stride(settings)]
    soft: list[Tensor] = []
    for part in chosen.split(64):
        soft.append(round_trip(part))
        yield TrainingProgress(
            "through the VAE", sum(map(len, soft)), len(chosen), cpu_seconds_since(started)
        )
    seconds = torch.tensor(cpu_seconds_since(started))
    tensors = {"clean": frames, "soft": torch.cat(soft), "cpu_seconds": seconds}
    with atomic_directory(folder, CheckpointError) as temporary:
        write_tensors(temporary / "frames.safetensors", tensors)


def _stride(settings: ClipTraining) -> int:
    return max(1, round(1 / settings.round_trip_share))


def _read_frames(folder: Path, settings: ClipTraining) -> _Frames:
    tensors = read_tensors(folder / "frames.safetensors", CheckpointError)
    return _Frames(
        tensors["clean"], tensors["soft"], _stride(settings), float(tensors["cpu_seconds"])
    )


class _Trainer(OneModelTraining):
    """The loop of :func:`train_clip`."""

    def __init__(self, settings: ClipTraining, scenes: Sequence[Any], data: _Frames) -> None:
        self.settings, self.scenes, self.data = settings, scenes, data
        self.tokenizer = build_tokenizer()
        with torch.random.fork_rng(devices=[]):
            # Modules initialise themselves from the global generator.
            torch.manual_seed(settings.seed)
            cfg = model_config(self.tokenizer.get_vocab_size())["model_cfg"]
            self.model = CLIP(cfg["embed_dim"], cfg["vision_cfg"], cfg["text_cfg"])
        self.model.visual.to(memory_format=torch.channels_last)  # pyright: ignore
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
            lr=settings.lr,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        super().__init__(settings, self.model, optimizer)

    def loss(self, step: int) -> Tensor:
        """See :class:`OneModelTraining`."""
        images, tokens, true = self._batch(step)
        with compute_context("auto", images.device):
            features = self.model.encode_image(images)  # pyright: ignore
        image = functional.normalize(features.float(), dim=-1)
        text = functional.normalize(self.model.encode_text(tokens), dim=-1)  # pyright: ignore
        return contrastive_loss(image, text, self.model.logit_scale, true)

    def step(self, step: int) -> float:
        """One update, after which the temperature is in its bounds."""
        loss = super().step(step)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=HIGHEST_SCALE)
        return loss

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``[b, 3, s, s]``, token ids ``[b, n]`` and true pairs ``[b, b]`` of a step."""
        s, data = self.settings, self.data
        generator = torch.Generator().manual_seed((s.seed << 32) + step)
        rng = random.Random(f"clip batch {s.seed} {step}")
        chosen = torch.randint(len(data.clean), (s.batch,), generator=generator)
        soft = torch.rand(s.batch, generator=generator) < 0.5
        chosen = torch.where(soft, chosen // data.stride * data.stride, chosen)
        frames = torch.where(
            soft[:, None, None, None], data.soft[chosen // data.stride], data.clean[chosen]
        )
        scenes = [self.scenes[index // s.frames_per_scene] for index in chosen.tolist()]
        said = [describe(scene, rng) for scene in scenes]
        encoded = self.tokenizer.encode_batch([each.text for each in said])
        ids = torch.tensor([each.ids for each in encoded])
        return _augmented(frames, generator), ids, true_pairs(scenes, said)


def _augmented(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Model inputs ``[b, 3, s, s]``: mirrored, shifted, a little blurred, noisy, lighter or darker.

    Mild, because the score must fall when a picture is really worse: this only covers what the VAE
    and a finished generation do to every frame.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(frames), 1, 1, 1, generator=generator)

    images = frames.float() / 255
    mirrored = uniform(0, 1) < 0.5
    images = torch.where(mirrored, images.flip(-1), images)
    images = shifted(images, WIDEST_SHIFT, generator)
    soft = uniform(0, 1) < 0.15
    sigma = 0.3 + 0.5 * float(torch.rand((), generator=generator))
    images = torch.where(soft, blurred(images, sigma), images)
    images = images * uniform(0.9, 1.1) + uniform(-0.05, 0.05)
    noise = torch.randn(images.shape, generator=generator) * uniform(0, 0.03)
    images = (images + noise).clamp(0, 1)
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
