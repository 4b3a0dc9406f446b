"""At which cosine a frame counts as a copy: a threshold from a rate of false alarms; recall.

The threshold lets one in a hundred clips of unseen scenes pass for copies, each compared with ten
training clips as customization has them: one motion, one kind. One of the ten is a hard case, a
clip with the very words of the unseen one, of another seed. Shapes: n clips, f frames, s picture
side, d length of a descriptor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.data.puppets.render import render_batch
from motion_ray.data.puppets.world import PuppetScene, sample_scene
from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.evaluation.copying import CopyDetector
from motion_ray.evaluation.copying_data import KNOWN_CHANGES, Change, alike
from motion_ray.evaluation.motion_data import softened
from motion_ray.evaluation.statistics import Share, share_of

FALSE_ALARMS = 0.01
TRAINING_CLIPS = 10


@dataclass(frozen=True)
class Trial:
    """An unseen clip and the training clips that it is compared with.

    Attributes:
        unseen: of the test split.
        training: the first is the hard case, the others share kind and motion with it.
    """

    unseen: PuppetScene
    training: tuple[PuppetScene, ...]


@dataclass(frozen=True)
class FalseAlarms:
    """The highest cosine of each trial between the unseen clip and training frames, ``[n]``.

    Attributes:
        hard: with the hard case only.
        others: with the other training clips.
    """

    hard: Tensor
    others: Tensor

    @property
    def all(self) -> Tensor:
        """With any training clip."""
        return torch.maximum(self.hard, self.others)


def draw_trials(count: int, stream: str) -> list[Trial]:
    """Trials with unseen scenes of all named motions."""
    rng = random.Random(stream)
    trials = []
    for _ in range(count):
        unseen = sample_scene(rng, NAMED_MOTIONS, count=1, speed="", compose=False, split="test")
        others = [
            sample_scene(rng, [unseen.motion], kind=unseen.kind, count=1, speed="", compose=False)
            for _ in range(TRAINING_CLIPS - 1)
        ]
        trials.append(Trial(unseen, (alike(unseen, rng, "test"), *others)))
    return trials


def false_alarms(detector: CopyDetector, trials: list[Trial], round_trip: RoundTrip) -> FalseAlarms:
    """What unseen clips score; they go through the VAE, as generated videos do."""
    hard, others = [], []
    for trial in trials:
        clips = render_batch([trial.unseen, *trial.training])
        unseen = detector.embed(softened(clips[:1], round_trip)[0])
        training = detector.embed(clips[1:].flatten(0, 1))
        best = (unseen @ training.T).unflatten(1, (TRAINING_CLIPS, -1)).amax((0, 2))
        hard.append(best[0])
        others.append(best[1:].max())
    return FalseAlarms(torch.stack(hard), torch.stack(others))


def threshold_at(scores: Tensor, rate: float = FALSE_ALARMS) -> float:
    """The lowest threshold that at most this share of scores ``[n]`` is above."""
    allowed = math.floor(rate * len(scores))
    return float(scores.sort(descending=True).values[allowed])


def recall(
    detector: CopyDetector, scenes: list[PuppetScene], threshold: float, round_trip: RoundTrip
) -> dict[str, Share]:
    """How many copies of frames are found, by what was done to them.

    Args:
        detector: the descriptor.
        scenes: one frame of each is copied.
        threshold: that a copy must be above.
        round_trip: the VAE's.
    """
    frames = render_batch(scenes, frames=1)[:, 0]
    own = detector.embed(frames)
    soft = round_trip(frames)
    copies: Mapping[str, Tensor] = {
        "VAE": soft,
        "nothing else": frames,
        **{name: _each(change, frames) for name, change in KNOWN_CHANGES.items()},
        "VAE and crop to 70 %": _each(KNOWN_CHANGES["crop to 70 % of the area"], soft),
        "VAE and blur, sigma 1 pixel": _each(KNOWN_CHANGES["blur, sigma 1 pixel"], soft),
    }
    return {
        name: share_of(((detector.embed(copy) * own).sum(1) > threshold).tolist())
        for name, copy in copies.items()
    }


def _each(change: Change, frames: Tensor) -> Tensor:
    return change(frames.clone())
