"""Fine-tunes a video classifier of transformers on labelled clips, such as Jester's.

The paper's classifier reached 94.78 % of the 27 classes of Jester (section 4.1); any good one
stands in for it if its own accuracy on clips it has not seen is told with it. So training ends with
that test, and the folder that is written carries the result. Starting weights are a folder of the
user's; the last layer is made anew for the labels. Shapes: b batch, f frames, h/w pixels, c
classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from motion_ray.config import ClipConfig
from motion_ray.data.jester import FPS, FRAMES, LABELS, JesterClip, read_labels, read_split
from motion_ray.data.video import probe, read_clip
from motion_ray.errors import BaseModelError
from motion_ray.evaluation.motion import (
    ARCHITECTURES,
    CARD,
    CONFIG,
    WEIGHTS,
    MotionClassifier,
    input_name,
    load_motion_classifier,
    preprocessor_of,
)
from motion_ray.evaluation.motion_input import ClipPreparation
from motion_ray.evaluation.statistics import Share, share_of
from motion_ray.files import atomic_directory, write_text_atomic
from motion_ray.manifest import canonical_json, read_json_object, sha256_of
from motion_ray.pretraining.loop import TrainingProgress, claim_work_folder, train
from motion_ray.pretraining.one_model import OneModelTraining, checkpoints_of, trained_weights
from motion_ray.tensors import write_tensors


@dataclass(frozen=True)
class FineTuning:
    """Settings of a fine-tuning.

    Attributes:
        steps: optimizer steps.
        batch: clips in a step.
        lr: highest learning rate; warms up, then falls in a cosine to a hundredth.
        warmup: steps.
        weight_decay: AdamW's.
        smoothing: of the labels.
        seconds: of a clip that are looked at, in its middle.
        checkpoint_every: steps.
        seed: of the last layer and of the clips' order.
    """

    steps: int = 30000
    batch: int = 16
    lr: float = 1e-4
    warmup: int = 1000
    weight_decay: float = 0.05
    smoothing: float = 0.1
    seconds: float = 2.6
    checkpoint_every: int = 1000
    seed: int = 0

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset({"weight_decay", "smoothing", "seed"})


@dataclass(frozen=True)
class LabelledClips:
    """What is trained or tested on.

    Attributes:
        clips: with their labels.
        labels: all there are, sorted: a class's number is its place here.
    """

    clips: Sequence[JesterClip]
    labels: tuple[str, ...]

    @classmethod
    def of_jester(cls, folder: Path, split: str, frames: Path | None = None) -> Self:
        """One split of Jester, as its owner gives it out.

        Args:
            folder: of the csv files.
            split: name of one of them.
            frames: folder of the clips; null: the usual one in that folder.

        Raises:
            DataError: see :func:`~motion_ray.data.jester.read_split`.
        """
        labels = read_labels(folder / LABELS)
        return cls(read_split(folder / split, frames or folder / FRAMES, labels), labels)


def fine_tune(
    settings: FineTuning, start: Path, data: LabelledClips, work: Path, device: str = "cpu"
) -> Iterator[TrainingProgress]:
    """Train, or go on where a killed run stopped.

    Args:
        settings: see :class:`FineTuning`.
        start: folder of a video classifier as transformers saves it, of any classes.
        data: to train on.
        work: folder for checkpoints.
        device: where it trains.

    Raises:
        BaseModelError: the folder cannot be used.
        DataError: a clip is damaged.
        RunFolderError: ``work`` belongs to a training with other settings or another start.
        CheckpointError: the disk is full, or no checkpoint is usable.
        NonFiniteLossError: the training diverged.
    """
    identity = {**asdict(settings), "start": sha256_of(start / WEIGHTS), "labels": data.labels}
    work.mkdir(parents=True, exist_ok=True)
    claim_work_folder(work, identity)
    yield from train(
        _Trainer(settings, start, data, torch.device(device)),
        settings.steps,
        checkpoints_of(work),
        settings.checkpoint_every,
    )


def write_classifier(
    settings: FineTuning,
    start: Path,
    data: LabelledClips,
    held_out: LabelledClips,
    work: Path,
    folder: Path,
    device: str = "cpu",
) -> Share:
    """Write the trained classifier as a folder, after testing it on clips it has not seen.

    Args:
        settings: of the training, which has finished.
        start: where it started.
        data: what it was trained on.
        held_out: what it is tested on.
        work: the training's folder.
        folder: to be written; must not exist, or be empty.
        device: where it is tested.

    Returns:
        How many of the held-out clips it names rightly; also in ``accuracy.json``.

    Raises:
        CheckpointError: the training has not finished.
        BaseModelError: the folder cannot be written.
    """
    weights = trained_weights(settings, work)
    staged = work / "model"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    write_tensors(staged / WEIGHTS, weights)
    config = _new_classes(read_json_object(start / CONFIG), data.labels)
    (staged / CONFIG).write_text(canonical_json(config))
    preprocessor = preprocessor_of(start)
    shutil.copyfile(preprocessor, staged / preprocessor.name)
    right = accuracy(load_motion_classifier(str(staged), device), held_out, settings.seconds)
    with atomic_directory(folder, BaseModelError) as target:
        for name in (WEIGHTS, CONFIG, preprocessor.name):
            shutil.copyfile(staged / name, target / name)
        write_accuracy(
            target, right, **{"started from": sha256_of(start / WEIGHTS)}, **asdict(settings)
        )
    return right


def accuracy(
    classifier: MotionClassifier,
    data: LabelledClips,
    seconds: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> Share:
    """How many clips a classifier names rightly, each looked at as in training.

    Args:
        classifier: under test.
        data: clips and labels.
        seconds: of each clip that are looked at, in its middle.
        on_progress: told clips done and clips in all.

    Raises:
        BaseModelError: the classifier knows other classes.
        DataError: a clip is damaged.
    """
    if absent := sorted({clip.label for clip in data.clips} - set(classifier.labels)):
        rule = f"does not know {len(absent)} of the classes, {absent[0]!r} first"
        raise BaseModelError(classifier.name, rule, "use one that was trained on these classes")
    verdicts = []
    for clip in data.clips:
        frames = _frames(clip.path, seconds)
        said = int(classifier.probabilities(frames[None])[0].argmax())
        verdicts.append(classifier.labels[said] == clip.label)
        if on_progress is not None:
            on_progress(len(verdicts), len(data.clips))
    return share_of(verdicts)


def write_accuracy(folder: Path, right: Share, **tested: object) -> None:
    """Write how good a classifier is beside its weights, where reports look for it.

    Args:
        folder: of the classifier.
        right: from :func:`accuracy`, on clips that it has not seen.
        tested: what else is to be known about it.

    Raises:
        BaseModelError: the folder cannot be written.
    """
    write_text_atomic(folder / CARD, canonical_json({**right.to_dict(), **tested}), BaseModelError)


class _Trainer(OneModelTraining):
    """The loop of :func:`fine_tune`; in single precision."""

    def __init__(
        self, settings: FineTuning, start: Path, data: LabelledClips, device: torch.device
    ) -> None:
        self.settings, self.data, self.device = settings, data, device
        self.model, self.preparation = _open(start, data.labels, settings.seed)
        self.model.to(device)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        super().__init__(settings, self.model, optimizer)

    def loss(self, step: int) -> Tensor:
        """See :class:`OneModelTraining`."""
        s = self.settings
        inputs, labels = self._batch(step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed * 1_000_003 + step)  # of dropout
            logits = self.model(**{input_name(self.model): inputs}).logits
        return functional.cross_entropy(logits, labels, label_smoothing=s.smoothing)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Prepared clips ``[b, f, 3, h, w]`` and classes ``[b]`` of a step: rounds over all clips,
        each in an order of its own.
        """
        batch, count = self.settings.batch, len(self.data.clips)
        chosen = []
        for place in range(step * batch, (step + 1) * batch):
            lap, index = divmod(place, count)
            generator = torch.Generator().manual_seed((self.settings.seed << 32) + lap)
            chosen.append(self.data.clips[int(torch.randperm(count, generator=generator)[index])])
        videos = [_frames(clip.path, self.settings.seconds) for clip in chosen]
        inputs = torch.cat([self.preparation(video[None].to(self.device)) for video in videos])
        labels = torch.tensor([self.data.labels.index(clip.label) for clip in chosen])
        return inputs, labels.to(self.device)


def _open(start: Path, labels: Sequence[str], seed: int) -> tuple[nn.Module, ClipPreparation]:
    """The start's network with a new last layer, and how it wants its frames."""
    config = read_json_object(start / CONFIG)
    named = config.get("architectures")
    architecture = ARCHITECTURES.get(named[0]) if isinstance(named, list) and named else None
    if architecture is None:
        raise BaseModelError(
            str(start / CONFIG),
            "is of no class that can be fine-tuned",
            f"one of: {', '.join(ARCHITECTURES)}",
        )
    # The folder is read by the same checks as any classifier's, and then only the head changes.
    classifier = load_motion_classifier(str(start))
    model, preparation = classifier.model.requires_grad_(True), classifier.preparation
    head = model.get_submodule("classifier")
    if not isinstance(head, nn.Linear):
        raise BaseModelError(str(start), "has no linear last layer", "use another model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = nn.Linear(head.in_features, len(labels))
        nn.init.trunc_normal_(fresh.weight, std=0.02)
        nn.init.zeros_(fresh.bias)
    model.set_submodule("classifier", fresh)
    return model, preparation


def _new_classes(config: Mapping[str, object], labels: Sequence[str]) -> dict[str, object]:
    """The start's config with these labels."""
    return {
        **config,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def _frames(path: Path, seconds: float) -> Tensor:
    """The middle of a clip at its own rate, uint8 ``[f, 3, h, w]``; a shorter clip as it is."""
    wanted = max(2, round(seconds * FPS))
    there = probe(path, frame_fps=FPS).frames
    return read_clip(path, ClipConfig(frames=min(wanted, there)), frame_fps=FPS).frames
