"""A worker of an evaluation: it holds the base model and the evaluators, and answers tasks.

It knows no Ray; :mod:`motion_ray.cluster.evaluating` puts several of them on a cluster. Shapes: f
frames, h/w pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.data.clips import load_motion_folder
from motion_ray.data.puppets.render import render_batch
from motion_ray.devices import check_works
from motion_ray.errors import ConfigError, DeltaError, NonFiniteVideoError
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.clip_data import vae_round_trip
from motion_ray.evaluation.copying import CopyDetector
from motion_ray.evaluation.copying_choice import load_copy_detector
from motion_ray.evaluation.copying_network import EMBEDDED, EMBEDDED_FOLDER
from motion_ray.evaluation.copying_sscd import PAPER_THRESHOLD
from motion_ray.evaluation.evaluated_motion import EvaluatedMotion
from motion_ray.evaluation.examiner import Examiner
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.scored_videos import PUPPET_CLIPS, PUPPET_SAMPLING
from motion_ray.evaluation.tasks import Task, failed
from motion_ray.evaluation.tracklets import Tracker
from motion_ray.evaluation.training_clips import (
    TrainingReference,
    read_clips,
    study,
    training_clips,
)
from motion_ray.generation import VideoGenerator, videos_at_once
from motion_ray.precision import resolved_name
from motion_ray.store import DeltaStore

logger = logging.getLogger(__name__)

#: What one video may die of without ending the evaluation: no memory, a kernel's error, NaN. Other
#: errors of ours (:class:`~motion_ray.errors.MotionRayError`) would come again and end it.
FAULTS = (RuntimeError, ArithmeticError, MemoryError, NonFiniteVideoError)
NOT_RUN = "not run"


@dataclass(frozen=True)
class EvaluationSettings:
    """Which models to load and how to generate; travels to workers.

    Attributes:
        base: ``"puppet"`` or a diffusers folder.
        classifier: of motions, ``"puppet"`` or a folder.
        clip_model: of frames and texts, ``"puppet"`` or a folder.
        copy_detector: as :func:`~motion_ray.evaluation.copying_choice.load_copy_detector` takes it.
        copy_sha256: of a TorchScript file.
        copy_threshold: of SSCD; the embedded detector has its own.
        fidelity: whether points are tracked.
        sampling: how videos are generated.
        clips: frames and size.
        precision: of the generation.
        batch_size: videos at a time; a video does not depend on it.
    """

    base: str = "puppet"
    classifier: str = "puppet"
    clip_model: str = "puppet"
    copy_detector: str = EMBEDDED
    copy_sha256: str | None = None
    copy_threshold: float = PAPER_THRESHOLD
    fidelity: bool = True
    sampling: SamplingConfig = PUPPET_SAMPLING
    clips: ClipConfig = PUPPET_CLIPS
    precision: str = "auto"
    batch_size: int = 8


@dataclass
class Evaluator:
    """Loaded models that answer tasks, one after another.

    Attributes:
        settings: they were loaded by.
        store: path or URI of the deltas.
        backbone: the untouched base.
        examiner: the evaluators.
    """

    settings: EvaluationSettings
    store: str
    backbone: UNet3DBackbone
    examiner: Examiner

    def __post_init__(self) -> None:
        self._delta: MotionDelta | None = None
        self._training: tuple[str, TrainingReference | None] = ("", None)

    def measured_with(self) -> dict[str, Any]:
        """Everything that a row depends on besides its question, by hash."""
        detector, settings = self.examiner.detector, self.settings
        return {
            "base": self.backbone.fingerprint,
            "motion classifier": self.examiner.classifier.sha256,
            "classes": list(self.examiner.classifier.labels),
            "image-text model": self.examiner.encoder.weights_sha256,
            "copy detector": NOT_RUN if detector is None else detector.sha256,
            "copy detector's name": NOT_RUN if detector is None else detector.name,
            "copy threshold": None if detector is None else detector.threshold,
            "tracker": NOT_RUN if self.examiner.tracker is None else repr(self.examiner.tracker),
            "sampling": settings.sampling.model_dump(mode="json"),
            "clips": settings.clips.model_dump(mode="json"),
            "precision": resolved_name(settings.precision, self.backbone.device),
        }

    def work(self, task: Task) -> list[Measurement]:
        """Answer a task's questions, in order.

        If the batch fails, its videos are tried one by one, and those that fail again get a row
        that says why.

        Raises:
            MotionRayError: what another try would meet again: a delta of another base, a damaged
                clip.
            DeviceError: the GPU computes nothing more for this process.
        """
        try:
            return self._answer(task)
        except FAULTS as error:
            # Or all videos after this one would fail as well, and count as wrong.
            check_works(self.backbone.device, error)
            if len(task.questions) == 1:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                logger.warning("a video could not be made: %s", reason)
                return failed(task, reason)
        found: list[Measurement] = []
        for at, question in enumerate(task.questions):
            prompts = task.prompts[at : at + 1]
            found += self.work(replace(task, questions=(question,), prompts=prompts))
        return found

    def _answer(self, task: Task) -> list[Measurement]:
        videos = self.videos(task)
        scores = self.examiner.examine(videos, task.questions, self._reference(task.motion))
        return [Measurement(q, s) for q, s in zip(task.questions, scores, strict=True)]

    def videos(self, task: Task) -> Sequence[Tensor]:
        """What a task asks to see, uint8 ``[f, 3, h, w]`` each.

        Raises:
            MotionRayError: a delta of another base, a damaged clip.
        """
        part, settings = task.questions[0].part, self.settings
        if part is Part.REAL:
            return self._real(task)
        generator = VideoGenerator(
            *(self.backbone, settings.sampling, settings.clips),
            settings.precision,
            min(settings.batch_size, videos_at_once(settings.clips)),
        )
        texts, seeds = [q.text for q in task.questions], [q.seed for q in task.questions]
        applied = nullcontext()
        if part is Part.CUSTOMIZED:
            applied = self._load(task.motion).applied(self.backbone)
        with applied:
            return [video.frames for video in generator.generate(texts, seeds)]

    def _real(self, task: Task) -> Sequence[Tensor]:
        """Real clips as the base's VAE gives them back."""
        if task.prompts:
            looks = [each.look for each in task.prompts if each.look is not None]
            scenes = [look.scene(task.motion.target.label) for look in looks]
            size = self.settings.clips
            if size.height != size.width:
                rule = f"drawn clips are square, not {size.height}x{size.width}"
                raise ConfigError("clips.height, clips.width", rule, "e.g. 64 and 64")
            clips = render_batch(scenes, size.frames, size.height)
        else:
            folder = task.motion.target.held_out
            assert folder is not None  # or there would be no such questions
            every = load_motion_folder(folder).clips
            chosen = [every[question.prompt] for question in task.questions]
            clips = torch.stack(read_clips(chosen, self.settings.clips))
        soften = vae_round_trip(self.backbone, 0.0, 0, self.settings.precision)
        return list(soften(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]))

    def _load(self, motion: EvaluatedMotion) -> MotionDelta:
        if self._delta is None or self._delta.sha256 != motion.delta:
            self._delta = DeltaStore(self.store).load(motion.reference)
        if self._delta.sha256 != motion.delta:
            raise DeltaError(motion.reference, "was published anew meanwhile", "start again")
        return self._delta

    def _reference(self, motion: EvaluatedMotion) -> TrainingReference | None:
        folder = motion.target.training
        if not motion.training or folder is None:
            return None
        if self._training[0] != motion.training:
            clips = read_clips(training_clips(folder, motion.clips), self.settings.clips)
            examiner = self.examiner
            self._training = motion.training, study(clips, examiner.detector, examiner.tracker)
        return self._training[1]


def open_evaluator(
    settings: EvaluationSettings, store: str, device: str | None = None
) -> Evaluator:
    """Load all models; nothing is fetched from a network.

    Args:
        settings: which ones.
        store: path or URI of the deltas.
        device: null takes the GPU if there is one.

    Raises:
        BaseModelError: a model is missing, incomplete or damaged.
        ConfigError: a TorchScript file without its sha256.
    """
    backbone = load_backbone(settings.base, device, settings.precision)
    where = backbone.device
    examiner = Examiner(
        classifier=load_motion_classifier(settings.classifier, where),
        encoder=load_image_text_encoder(settings.clip_model, where),
        detector=_detector(settings, where),
        tracker=Tracker() if settings.fidelity else None,
    )
    return Evaluator(settings, store, backbone, examiner)


def _detector(settings: EvaluationSettings, device: torch.device) -> CopyDetector | None:
    """The copy detector; None if none is wanted, or the embedded one has not been made."""
    chosen = settings.copy_detector
    if chosen == NOT_RUN:
        return None
    if chosen == EMBEDDED and not EMBEDDED_FOLDER.is_dir():
        logger.warning("copying is not run: the embedded copy detector is not there")
        return None
    return load_copy_detector(
        chosen,
        sha256=settings.copy_sha256,
        threshold=settings.copy_threshold,
        device=device,
    )
