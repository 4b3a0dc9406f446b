"""What videos are held against: the clips that a motion was learned from, as evaluators see them.

Copying and motion fidelity are scored against these clips, so they must be the very ones: a delta
names the sha256 of each, and a folder that holds others is refused. Shapes: f frames, h/w pixels, p
points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from motion_ray.config import ClipConfig
from motion_ray.data.augment import apply_augmentation, plain_draw
from motion_ray.data.clips import content_hash, load_motion_folder
from motion_ray.data.video import read_clip
from motion_ray.errors import ConfigError
from motion_ray.evaluation.copying import CopyDetector, TrainingFrames, describe_training
from motion_ray.evaluation.tracklets import Tracker
from motion_ray.types import CaptionedClip


@dataclass(frozen=True)
class TrainingReference:
    """Training clips as descriptors and tracks.

    Attributes:
        frames: descriptors of all frames; None without a copy detector.
        tracks: of every clip, ``[p, f, 2]`` each; None without a tracker.
    """

    frames: TrainingFrames | None
    tracks: tuple[Tensor, ...] | None


def training_hash(sources: Mapping[str, str]) -> str:
    """One sha256 of a delta's training clips, whatever their names and order."""
    return hashlib.sha256("\n".join(sorted(sources.values())).encode()).hexdigest()


def training_clips(folder: str, first: int | None) -> tuple[CaptionedClip, ...]:
    """The clips of a motion folder that a training with ``motion_clips=first`` uses.

    Raises:
        DataError: the folder cannot be read.
    """
    return load_motion_folder(folder).clips[:first]


def check_training_folder(
    folder: str, sources: Mapping[str, str], first: int | None = None
) -> tuple[CaptionedClip, ...]:
    """The clips of a motion folder, if they are those that a delta was trained on.

    Args:
        folder: of the motion.
        sources: file name to sha256, as the delta's header has it.
        first: so many clips of the folder were trained on; null: all of them.

    Raises:
        ConfigError: they are others.
        DataError: the folder cannot be read.
    """
    clips = training_clips(folder, first)
    if {content_hash(clip.path) for clip in clips} != set(sources.values()):
        raise ConfigError(
            folder,
            "holds other clips than the motion was trained on",
            "name the folder of its training, or leave `training` out",
        )
    return clips


def read_clips(clips: Iterable[CaptionedClip], config: ClipConfig) -> list[Tensor]:
    """Frames of clips as training sees them without augmentation, uint8 ``[f, 3, h, w]`` each.

    Raises:
        DataError: a clip cannot be read.
    """
    found = []
    for clip in clips:
        frames = read_clip(clip.path, config, frame_fps=clip.frame_fps).frames
        height, width = frames.shape[-2:]
        plain = plain_draw((height, width), (config.height, config.width))
        found.append(apply_augmentation(frames, plain, config.height, config.width))
    return found


def study(
    clips: list[Tensor], detector: CopyDetector | None, tracker: Tracker | None
) -> TrainingReference:
    """Describe training clips, uint8 ``[f, 3, h, w]`` each, for comparison."""
    return TrainingReference(
        None if detector is None else describe_training(detector, clips),
        None if tracker is None else tuple(tracker(clip) for clip in clips),
    )
