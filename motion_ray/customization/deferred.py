"""Validation off the critical path: training goes on while somebody else samples and scores.

The verdict on a step comes later, and is the same: what is scored are the weights of that step, and
a run that fell below its floor ends at that step, whatever it has trained since. It is never more
than one validation ahead of a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from motion_ray.config import CustomizationConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.models import KeptModels
from motion_ray.customization.stopping import AppearanceValidator
from motion_ray.data.clips import load_motion_folder
from motion_ray.errors import ConfigError
from motion_ray.files import remove_directory, remove_stale
from motion_ray.generation import VideoGenerator

WEIGHTS = "weights"  # folder of the delta that is to be scored, beside the videos


class Scorer(Protocol):
    """Scores one step of one run at a time, somewhere else."""

    def submit(self, config: CustomizationConfig, folder: Path) -> None:
        """Begin to score the delta in ``folder / WEIGHTS``; videos go into ``folder``."""
        ...

    def score(self, *, wait: bool) -> float | None:
        """The score of what was submitted last; null if it is not known yet.

        Args:
            wait: until it is.

        Raises:
            MotionRayError: it cannot be scored.
        """
        ...


@dataclass(frozen=True)
class DeltaScorer:
    """Does the work of a scorer in this process.

    Args:
        models: kept from one score to the next.
        device: null takes the GPU if there is one.
    """

    models: KeptModels
    device: str | None = None

    def score(self, config: CustomizationConfig, folder: Path) -> float:
        """CLIP appearance of the delta in ``folder / WEIGHTS``.

        Raises:
            MotionRayError: the delta, the base or the CLIP model cannot be used.
        """
        if config.validation.floor is None:
            raise ConfigError("validation.floor", "is not set, so there is nothing to score")
        source, precision = self.models.source(), config.engine.arithmetic
        delta = MotionDelta.load(folder / WEIGHTS)
        backbone = source.base(config.model, self.device, precision)
        generator = VideoGenerator(backbone, config.sampling, config.clips, precision)
        encoder = source.encoder(config.validation.floor.clip_model, str(backbone.device))
        token = load_motion_folder(config.motion).token
        validator = AppearanceValidator(config.validation, generator, encoder, token)
        with delta.applied(backbone):
            return validator.score(folder)


def submit(scorer: Scorer, config: CustomizationConfig, delta: MotionDelta, folder: Path) -> None:
    """Write the weights of a step where the scorer finds them, and have them scored.

    Raises:
        DeltaError: they cannot be written.
    """
    discard_weights(folder)  # of a run that was killed since: on a GPU its bits were others
    delta.save(folder / WEIGHTS)
    scorer.submit(config, folder)


def discard_weights(folder: Path) -> None:
    """Remove what was written to be scored, once the score is on record."""
    if (folder / WEIGHTS).exists():
        remove_directory(folder / WEIGHTS)
    remove_stale(folder)  # gigabytes, if a process was killed while it wrote or removed them


def recorded_score(metrics: Iterable[Mapping[str, Any]], step: int) -> float | None:
    """The score of a step in the lines of a run; null if it is not there."""
    for line in metrics:
        if line["event"] == "validation" and line["step"] == step:
            return float(line["appearance"])
    return None
