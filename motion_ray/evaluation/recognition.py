"""What a video of the puppet world shows, as the evaluators see it: motion, kind, colour, place.

The motion classifier names the motion. The image-text model reads the rest off the frames without
being told anything: of all phrases that the world has ("a red robot in the forest"), the one with
the highest mean cosine. Shapes: n videos, f frames, s picture side, p phrases, c motions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import appearance_phrase
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.world import PuppetScene
from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.motion import MotionClassifier

ATTRIBUTES = ("motion", "kind", "colour", "place")


@dataclass(frozen=True)
class Seen:
    """What the evaluators recognise in one video.

    Attributes:
        motion: the most probable motion.
        kind: of the best phrase; likewise the next two.
        colour: of the best phrase.
        place: of the best phrase.
        probability: of the motion that was asked for.
        appearance: mean cosine of the frames with the phrase that was asked for (CLIP appearance).
    """

    motion: str
    kind: str
    colour: str
    place: str
    probability: float
    appearance: float


@dataclass(frozen=True)
class LookReader:
    """Reads kind, colour and place off frames.

    Attributes:
        encoder: of frames and phrases.
    """

    encoder: OpenClipEncoder

    @cached_property
    def _phrases(self) -> tuple[list[tuple[str, str, str]], Tensor]:
        """All looks of the world and the unit vectors ``[p, e]`` of their phrases."""
        looks = list(itertools.product(KINDS, COLOURS, PLACES))
        texts = [appearance_phrase(PuppetScene(k, c, p, "waving")) for k, c, p in looks]
        return looks, self.encoder.encode_texts(texts)

    def read(self, means: Tensor) -> list[tuple[str, str, str]]:
        """The look whose phrase fits best, by the mean ``[n, e]`` of each video's frame vectors.

        The mean over frames of cosines is the cosine with the mean of the frames' vectors.
        """
        looks, phrases = self._phrases
        return [looks[number] for number in (means @ phrases.T).argmax(1).tolist()]


@dataclass(frozen=True)
class Recogniser:
    """Both evaluators together.

    Attributes:
        classifier: of motions; must know those that are asked for.
        encoder: of frames and phrases.
    """

    classifier: MotionClassifier
    encoder: OpenClipEncoder

    @cached_property
    def _looks(self) -> LookReader:
        return LookReader(self.encoder)

    def look(self, videos: Tensor, asked: Sequence[PuppetScene]) -> list[Seen]:
        """What each video shows.

        Args:
            videos: uint8 ``[n, f, 3, s, s]``.
            asked: the scene that each video should show; it only decides of which motion the
                probability and of which phrase the cosine is noted.

        Raises:
            ValueError: another number of scenes, or a motion that the classifier does not know.
        """
        if len(videos) != len(asked):
            raise ValueError(f"one scene a video, got {len(asked)} for {len(videos)}")
        labels = self.classifier.labels
        unknown = {scene.motion for scene in asked} - set(labels)
        if unknown:
            raise ValueError(f"the classifier {self.classifier.name} does not know {unknown}")
        probabilities = self.classifier.probabilities(videos)
        frames = self.encoder.encode_frames(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        mean = frames.mean(1)
        best = self._looks.read(mean)
        own = [appearance_phrase(replace(scene, count=1)) for scene in asked]
        appearance = (mean * self.encoder.encode_texts(own)).sum(1)
        return [
            Seen(
                labels[int(probabilities[i].argmax())],
                *best[i],
                probability=float(probabilities[i, labels.index(scene.motion)]),
                appearance=float(appearance[i]),
            )
            for i, scene in enumerate(asked)
        ]


def agrees(seen: Seen, asked: PuppetScene, attribute: str) -> bool:
    """Whether an attribute (one of :data:`ATTRIBUTES`) was recognised as asked for."""
    return getattr(seen, attribute) == getattr(asked, attribute)
