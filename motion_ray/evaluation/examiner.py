"""All evaluators together: from videos and what was asked of them to their scores.

Motion accuracy, CLIP appearance and text alignment are those of the paper's section 4.1, copying
that of section 4.2 and supplement C. Videos played backwards and with shuffled frames are
classified too: a classifier that still sees the motion in them does not look at motion. Shapes: n
videos, f frames, h/w pixels, e width of an image embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.consistency import mean_embedding, temporal_consistency
from motion_ray.evaluation.copying import CopyDetector, NearestFrame, nearest_frame
from motion_ray.evaluation.measurement import Question, Scores
from motion_ray.evaluation.motion import MotionClassifier
from motion_ray.evaluation.motion_fidelity import mean_fidelity
from motion_ray.evaluation.recognition import LookReader
from motion_ray.evaluation.tracklets import Tracker
from motion_ray.evaluation.training_clips import TrainingReference

SHUFFLE_SEED = 20240401


@dataclass(frozen=True)
class Examiner:
    """The evaluators of one evaluation.

    Attributes:
        classifier: of motions.
        encoder: of frames and texts.
        detector: of copies; None: copying is not run.
        tracker: of points; None: motion fidelity is not run.
    """

    classifier: MotionClassifier
    encoder: OpenClipEncoder
    detector: CopyDetector | None
    tracker: Tracker | None

    def examine(
        self,
        videos: Sequence[Tensor],
        questions: Sequence[Question],
        training: TrainingReference | None,
    ) -> list[Scores]:
        """Score videos.

        Args:
            videos: uint8 ``[f, 3, h, w]`` each, all of one shape.
            questions: what was asked of each.
            training: what copying and fidelity are scored against; None: they are not.

        Raises:
            ValueError: another number of questions.
        """
        if len(videos) != len(questions):
            raise ValueError(f"{len(questions)} questions for {len(videos)} videos")
        clips = torch.stack(list(videos))
        probabilities = self.classifier.probabilities(clips)
        backwards = self._said(self.classifier.probabilities(clips.flip(1)))
        shuffled = self._said(self.classifier.probabilities(_shuffled(clips)))
        said = self._said(probabilities)
        frames = self.encoder.encode_frames(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        found = []
        for i, question in enumerate(questions):
            copy_any, copy_first = self._nearest(clips[i], training)
            kind, colour, place = self._look(frames[i], question)
            scores = Scores(
                said=said[i],
                probabilities=tuple(probabilities[i].tolist()),
                said_reversed=backwards[i],
                said_shuffled=shuffled[i],
                embedding=tuple(mean_embedding(frames[i]).tolist()),
                consistency=temporal_consistency(frames[i]),
                appearance=self._cosine(frames[i], question.appearance_text),
                alignment=self._cosine(frames[i], question.natural_text),
                fidelity=self._fidelity(clips[i], training),
                copy_any=copy_any,
                copy_first=copy_first,
                seen_kind=kind,
                seen_colour=colour,
                seen_place=place,
            )
            found.append(scores)
        return found

    def _said(self, probabilities: Tensor) -> list[str]:
        return [self.classifier.labels[number] for number in probabilities.argmax(1).tolist()]

    def _cosine(self, frames: Tensor, text: str) -> float | None:
        """The mean cosine of frames ``[f, e]`` with a text; None for no text."""
        if not text:
            return None
        return float((frames @ self.encoder.encode_texts([text]).T).mean())

    def _nearest(
        self, clip: Tensor, training: TrainingReference | None
    ) -> tuple[NearestFrame, NearestFrame] | tuple[None, None]:
        """The closest of all training frames, and of the first frames of training clips."""
        if self.detector is None or training is None or training.frames is None:
            return None, None
        vectors = self.detector.embed(clip)
        every, first = training.frames, training.frames.of("first")
        return nearest_frame(vectors, every), nearest_frame(vectors, first)

    def _fidelity(self, clip: Tensor, training: TrainingReference | None) -> float | None:
        if self.tracker is None or training is None or training.tracks is None:
            return None
        return mean_fidelity(self.tracker(clip), training.tracks)

    @cached_property
    def _looks(self) -> LookReader:
        return LookReader(self.encoder)

    def _look(self, frames: Tensor, question: Question) -> tuple[str, str, str] | tuple[None, ...]:
        """Kind, colour and place as the image-text model sees them, in the puppet world."""
        if not question.kind:
            return None, None, None
        return self._looks.read(frames.mean(0, keepdim=True))[0]


def _shuffled(clips: Tensor) -> Tensor:
    """The frames of each clip ``[n, f, 3, h, w]`` out of order: the same order for every clip, so
    that a video's score does not depend on its company.
    """
    generator = torch.Generator().manual_seed(SHUFFLE_SEED)
    order = torch.randperm(clips.shape[1], generator=generator)
    if clips.shape[1] > 1 and bool((order == torch.arange(len(order))).all()):
        order = order.roll(1)
    return clips[:, order]
