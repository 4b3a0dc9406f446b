"""How good a motion classifier is on clips whose motion is known, and whether order matters to it.

Shapes: n clips, f frames, s picture side, c classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_ray.data.puppets.world import PuppetScene
from motion_ray.evaluation.clip_data import RoundTrip
from motion_ray.evaluation.motion import MotionClassifier
from motion_ray.evaluation.motion_data import draw_clips, is_simple, out_of_order, softened
from motion_ray.evaluation.statistics import Share, share_of


@dataclass(frozen=True)
class Recognised:
    """What a classifier made of clips.

    Attributes:
        every: right, of all clips.
        simple: right, of those with one puppet that does one thing at normal speed.
        motions: right, by motion.
        mistakes: (true, said) and how often, the most frequent first.
    """

    every: Share
    simple: Share
    motions: dict[str, Share]
    mistakes: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class MotionScores:
    """A classifier on the same scenes in four forms.

    Attributes:
        real: clips as drawn.
        soft: after the base's VAE.
        reversed: as drawn, played backwards.
        shuffled: as drawn, frames of each clip in random order.
        still: as drawn, the first frame of each clip throughout.
    """

    real: Recognised
    soft: Recognised
    reversed: Recognised
    shuffled: Recognised
    still: Recognised


def score_classifier(
    classifier: MotionClassifier, scenes: Sequence[PuppetScene], round_trip: RoundTrip
) -> MotionScores:
    """Score a classifier on scenes it has not seen."""
    generator = torch.Generator().manual_seed(0)
    forms: dict[str, list[Tensor]] = {}
    for clips in draw_clips(scenes):
        changed = {
            "real": clips,
            "soft": softened(clips, round_trip),
            "reversed": clips.flip(1),
            "shuffled": out_of_order(clips, generator),
            "still": clips[:, :1].expand_as(clips).contiguous(),
        }
        for name, each in changed.items():
            forms.setdefault(name, []).append(classifier.probabilities(each).argmax(1))
    said = {
        name: [classifier.labels[number] for number in torch.cat(parts).tolist()]
        for name, parts in forms.items()
    }
    return MotionScores(**{name: compare(scenes, motions) for name, motions in said.items()})


def compare(scenes: Sequence[PuppetScene], said: Sequence[str]) -> Recognised:
    """Count what was said against what is true."""
    pairs = list(zip(scenes, said, strict=True))
    mistakes = Counter((scene.motion, motion) for scene, motion in pairs if scene.motion != motion)
    motions = sorted({scene.motion for scene in scenes})
    return Recognised(
        every=share_of(scene.motion == motion for scene, motion in pairs),
        simple=share_of(scene.motion == motion for scene, motion in pairs if is_simple(scene)),
        motions={
            name: share_of(motion == name for scene, motion in pairs if scene.motion == name)
            for name in motions
        },
        mistakes=tuple((*pair, count) for pair, count in mistakes.most_common()),
    )
