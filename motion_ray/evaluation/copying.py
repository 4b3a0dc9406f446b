"""The copying score (paper section 4.2 and supplement C): do videos repeat training frames?

A video counts as a copy if any of its frames is closer to a training frame than a threshold, by the
cosine of copy-detection descriptors. The paper's section 4.2 compares with the first frame of every
training clip, its supplement C with any frame; both are here. A descriptor that was made for
another kind of picture can find everything alike, and then the score says nothing: so a score
always comes with a negative control, other clips of the same world held against the same training
clips, and is refused when more than :data:`CONTROL_LIMIT` of those count as copies (what counts is
in ``scoreboard``). Shapes: n frames, f frames of a video, m training frames, d length of a
descriptor, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from motion_ray.errors import ConfigError

CONTROL_LIMIT = 0.05
Frames = Literal["any", "first"]


class CopyDetector(Protocol):
    """Gives frames descriptors whose cosine is high for copies only."""

    @property
    def name(self) -> str:
        """As given when loading."""
        ...

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        ...

    @property
    def threshold(self) -> float:
        """The cosine above which a frame counts as a copy."""
        ...

    def embed(self, frames: Tensor) -> Tensor:
        """Unit vectors ``[n, d]`` float32 on the CPU of frames, uint8 ``[n, 3, h, w]``."""
        ...


@dataclass(frozen=True)
class TrainingFrames:
    """Descriptors of what was trained on.

    Attributes:
        vectors: unit vectors ``[m, d]``.
        clips: which clip each belongs to, int64 ``[m]``.
        frames: which of its frames it is, int64 ``[m]``.
    """

    vectors: Tensor
    clips: Tensor
    frames: Tensor

    def of(self, which: Frames) -> TrainingFrames:
        """All of them, or the first of each clip."""
        if which == "any":
            return self
        first = self.frames == 0
        return TrainingFrames(self.vectors[first], self.clips[first], self.frames[first])


@dataclass(frozen=True)
class NearestFrame:
    """The training frame that a video comes closest to.

    Attributes:
        score: the cosine.
        frame: of the video.
        clip: of the training clips.
        clip_frame: of that clip.
    """

    score: float
    frame: int
    clip: int
    clip_frame: int


def describe_training(detector: CopyDetector, clips: Sequence[Tensor]) -> TrainingFrames:
    """Descriptors of training clips, uint8 ``[f, 3, h, w]`` each; lengths may differ.

    Raises:
        ConfigError: there are no clips.
    """
    if not clips:
        raise ConfigError("training clips", "copying is scored against at least one", "give some")
    return TrainingFrames(
        torch.cat([detector.embed(clip) for clip in clips]),
        torch.cat([torch.full((len(clip),), number) for number, clip in enumerate(clips)]),
        torch.cat([torch.arange(len(clip)) for clip in clips]),
    )


def nearest_frame(vectors: Tensor, training: TrainingFrames) -> NearestFrame:
    """Which training frame a video comes closest to; of equals, the earliest.

    Args:
        vectors: descriptors of the video's frames, ``[f, d]``.
        training: what to compare with.
    """
    cosines = vectors @ training.vectors.T
    frame, at = divmod(int(cosines.argmax()), cosines.shape[1])
    return NearestFrame(
        float(cosines[frame, at]), frame, int(training.clips[at]), int(training.frames[at])
    )


def check_frames(frames: Tensor) -> None:
    """Refuse what is not uint8 ``[n, 3, h, w]``.

    Raises:
        ValueError: it is something else, or empty.
    """
    good = frames.dtype == torch.uint8 and frames.ndim == 4 and frames.shape[1] == 3
    if not good or not len(frames):
        raise ValueError(f"frames are uint8 [n, 3, h, w], got {frames.dtype} {tuple(frames.shape)}")
