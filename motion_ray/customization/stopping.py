"""When to stop: CLIP appearance on fixed prompts and seeds, and its floor (paper section 4.1,
supplement B).

Appearance falls as a motion is learned, so it is a floor that training must not cross, never
something to maximise. What is kept is the last validated step above the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from motion_ray.config import AppearanceFloor, ValidationConfig
from motion_ray.data.video import write_video
from motion_ray.errors import ConfigError
from motion_ray.evaluation.clip import ImageTextEncoder, appearance_score
from motion_ray.evaluation.prompts import EvalPrompt
from motion_ray.generation import VideoGenerator


@dataclass
class StoppingState:
    """What has been seen so far; part of every checkpoint.

    Attributes:
        base_score: appearance of the base model, step 0.
        last_good: last step whose appearance was at or above the floor; null before the first
            validation.
        last_score: its appearance.
        stopped: appearance fell below the floor: train no further.
        failed: the step at which it did.
        pending: step whose score is awaited (:mod:`motion_ray.customization.deferred`).
    """

    base_score: float | None = None
    last_good: int | None = None
    last_score: float | None = None
    stopped: bool = False
    failed: int | None = None
    pending: int | None = None

    def floor(self, rule: AppearanceFloor) -> float:
        """The floor as an absolute score; a relative one needs :attr:`base_score`."""
        if rule.value is not None:
            return rule.value
        assert rule.relative is not None
        assert self.base_score is not None, "a relative floor is known once step 0 has been scored"
        return rule.relative * self.base_score

    def observe(self, step: int, score: float, rule: AppearanceFloor) -> bool:
        """Take in the score of a step; returns whether it is at or above the floor.

        Raises:
            ConfigError: the untouched base is already below an absolute floor, or nothing ever
                passed.
        """
        if step == 0:
            self.base_score = score
        floor = self.floor(rule)
        if score >= floor:
            if step > 0:
                self.last_good, self.last_score = step, score
            return True
        if step == 0:
            raise ConfigError(
                "validation.floor.value",
                f"the base model itself scores {score:.4f}, below the floor {floor:.4f}",
                "a floor belongs to one CLIP model; take a share of the base's own score instead: "
                "validation.floor.value=null validation.floor.relative=0.9",
            )
        if self.last_good is None:
            raise ConfigError(
                "validation.every",
                f"appearance was already below the floor at the first validation, step {step} "
                f"({score:.4f} < {floor:.4f}), so there is no step to keep",
                "validate more often or lower optimizer.lr",
            )
        self.stopped, self.failed = True, step
        return False


def scored_prompts(settings: ValidationConfig) -> list[EvalPrompt]:
    """The prompts whose appearance decides when to stop; without a floor, those of the report.

    Raises:
        ConfigError: there are none for a floor, or one has no slot for the motion, or nothing else.
    """
    if settings.floor is not None and not (settings.prompts and settings.seeds):
        raise ConfigError(
            "validation.prompts",
            "an appearance floor needs prompts to score, and a seed for each",
            'for example validation.prompts=["a red robot <motion>"] and validation.seeds=[0]',
        )
    prompts = [EvalPrompt(template) for template in settings.prompts]
    for prompt in prompts:
        if not prompt.appearance():
            raise ConfigError(
                f"validation.prompts: {prompt.template!r}",
                "a prompt says who moves: that is what appearance is scored on",
                'for example "a red robot <motion>"',
            )
    return prompts


class AppearanceValidator:
    """Generates the fixed prompts and seeds and scores their appearance.

    Args:
        settings: prompts, seeds.
        generator: with the model under training.
        encoder: the CLIP model.
        token: V* as it stands in prompts.
    """

    def __init__(
        self,
        settings: ValidationConfig,
        generator: VideoGenerator,
        encoder: ImageTextEncoder,
        token: str,
    ) -> None:
        prompts = scored_prompts(settings)
        self._pairs = [(prompt, seed) for prompt in prompts for seed in settings.seeds]
        self._generator, self._encoder = generator, encoder
        self._texts = [prompt.with_token(token, settings.phrase) for prompt, _ in self._pairs]

    def score(self, folder: Path) -> float:
        """Mean CLIP appearance over prompts and seeds; the videos are written into ``folder``."""
        videos = self._generator.generate(self._texts, [seed for _, seed in self._pairs])
        folder.mkdir(parents=True, exist_ok=True)
        for index, video in enumerate(videos):
            write_video(folder / f"{index:02d}.mp4", video.frames, video.fps)
        phrases = [prompt.appearance() for prompt, _ in self._pairs]
        return appearance_score(self._encoder, [video.frames for video in videos], phrases)
