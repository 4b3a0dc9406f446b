"""At which cosine a frame counts as a copy: a threshold from a rate of false alarms; recall.

Clips of unseen scenes are each compared with ten training clips as customization has them: one
motion, one kind. The threshold lets one in a hundred of them pass for copies of clips that differ
in colour or place, as evaluation has it, whose prompts never repeat the words of a training clip.
One of the ten is a hard case, a clip with the very words of the unseen one and another seed: two
such clips differ by little more than a crop. How often they pass for copies is measured, but does
not choose. Shapes: n clips, f frames, s picture side, d length of a descriptor.
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
from motion_ray.evaluation.copying_data import KNOWN_CHANGES, alike
from motion_ray.evaluation.motion_data import draw_clips, softened
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


@dataclass(frozen=True)
class Closeness:
    """Highest cosines of copies with what they copy, ``[n]``.

    Attributes:
        clip: of a copied clip, any frame with any frame, as videos are scored.
        frame: of a single frame with the frame it copies.
    """

    clip: Tensor
    frame: Tensor


def closeness(
    detector: CopyDetector, scenes: list[PuppetScene], round_trip: RoundTrip
) -> dict[str, Closeness]:
    """How close copies of clips come to them, by what was done to the copies.

    Args:
        detector: the descriptor.
        scenes: a clip of each is copied.
        round_trip: the VAE's.
    """
    found: dict[str, list[Closeness]] = {}
    for clips in draw_clips(scenes):
        frames = clips.flatten(0, 1)
        own = detector.embed(frames).unflatten(0, clips.shape[:2])
        for name, copy in _copies(frames, round_trip).items():
            vectors = detector.embed(copy).unflatten(0, clips.shape[:2])
            cosines = torch.einsum("nfd,ngd->nfg", vectors, own)
            found.setdefault(name, []).append(Closeness(cosines.amax((1, 2)), cosines[:, 0, 0]))
    return {
        name: Closeness(torch.cat([p.clip for p in parts]), torch.cat([p.frame for p in parts]))
        for name, parts in found.items()
    }


def above(scores: Tensor, threshold: float) -> Share:
    """How many of the scores ``[n]`` count as copies."""
    return share_of((scores > threshold).tolist())


def _copies(frames: Tensor, round_trip: RoundTrip) -> Mapping[str, Tensor]:
    soft = round_trip(frames)
    return {
        "nothing": frames,
        "VAE": soft,
        **{name: change(frames) for name, change in KNOWN_CHANGES.items()},
        "VAE, then blur, sigma 1 pixel": KNOWN_CHANGES["blur, sigma 1 pixel"](soft),
        "VAE, then crop to 90 %": KNOWN_CHANGES["crop to 90 % of the area"](soft),
    }
