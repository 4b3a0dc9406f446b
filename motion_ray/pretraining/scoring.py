"""Scores of a base model while it trains: few videos, judged by the embedded evaluators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.evaluation import clip, motion
from motion_ray.evaluation.base_scores import score_base
from motion_ray.evaluation.scene_prompts import balanced_prompts
from motion_ray.evaluation.scored_videos import Bench


@dataclass(frozen=True)
class BaseScorer:
    """Share of videos that show what was asked for, of scenes kept for validation.

    The test scenes stay unseen until a model is finished. A few dozen videos tell a course, not a
    figure to report.

    Attributes:
        videos: generated for each score.
        classifier: of motions: ``"puppet"`` or a folder.
        clip_model: for kind, colour and place: ``"puppet"`` or a folder.
    """

    videos: int
    classifier: str = motion.EMBEDDED
    clip_model: str = clip.EMBEDDED

    def __call__(self, backbone: UNet3DBackbone) -> Mapping[str, float]:
        """Motion, kind, colour and place: each between 0 and 1.

        Raises:
            BaseModelError: an evaluator cannot be loaded.
        """
        device = backbone.device
        bench = Bench(
            backbone,
            motion.load_motion_classifier(self.classifier, device),
            clip.load_image_text_encoder(self.clip_model, device),
        )
        prompts = balanced_prompts(self.videos, split="validation")
        scores = score_base(bench, prompts, ceiling=False)
        return {name: share.rate for name, share in scores.generated.items()}


def evaluators_are_there() -> bool:
    """Whether both evaluators are part of this installation."""
    return clip.EMBEDDED_FOLDER.is_dir() and motion.EMBEDDED_FOLDER.is_dir()
