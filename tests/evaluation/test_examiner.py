"""All evaluators together, on clips whose answers are known by how they were made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import to_tensor

from motion_ray.evaluation import examiner as examined
from motion_ray.evaluation.clip import OpenClipEncoder
from motion_ray.evaluation.copying import describe_training
from motion_ray.evaluation.examiner import Examiner
from motion_ray.evaluation.measurement import Part, Question, Scores
from motion_ray.evaluation.training_clips import TrainingReference


@dataclass(frozen=True)
class Brightest:
    """Its classes are the places of a video's frames: it says where the brightest stands."""

    frames: int
    name: str = "brightest"
    sha256: str = "00" * 32

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(f"frame {at}" for at in range(self.frames))

    def probabilities(self, frames: Tensor) -> Tensor:
        return functional.one_hot(frames.float().mean((2, 3, 4)).argmax(1), self.frames).float()


class Shade(nn.Module):
    """Embeds a picture as its mean colour."""

    def encode_image(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3))


@dataclass(frozen=True)
class Angle:
    """A descriptor of shades: an angle of a hundredth for each."""

    name: str = "angle"
    sha256: str = "00" * 32
    threshold: float = 0.9

    def embed(self, frames: Tensor) -> Tensor:
        angle = frames.float().mean((1, 2, 3)) / 100
        return torch.stack([angle.cos(), angle.sin()], 1)


ENCODER = OpenClipEncoder("shade", "", Shade(), to_tensor, lambda _: Tensor(), torch.device("cpu"))


def clip(shades: Sequence[int]) -> Tensor:
    return torch.tensor(shades, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)


def examine(clips: Sequence[Tensor], training: TrainingReference | None = None) -> list[Scores]:
    examiner = Examiner(Brightest(len(clips[0])), ENCODER, Angle(), None)
    questions = [Question(Part.BASE, "a", "a", at, 0, "") for at in range(len(clips))]
    return examiner.examine(clips, questions, training)


def bright_at(frames: int) -> list[Tensor]:
    """For each place a clip whose brightest frame stands there."""
    return [clip([200 if at == place else 50 for at in range(frames)]) for place in range(frames)]


@pytest.mark.parametrize("frames", [2, 4, 8, 24])
def test_controls_are_the_video_backwards_and_in_one_other_order(frames: int) -> None:
    """Together the clips say where each frame of a video has gone."""
    found, names = examine(bright_at(frames)), list(Brightest(frames).labels)
    assert [each.said for each in found] == names
    assert [each.said_reversed for each in found] == names[::-1]
    shuffled = [each.said_shuffled for each in found]
    assert sorted(shuffled) == sorted(names) and shuffled != names
    if frames > 2:  # two frames have no other order
        assert shuffled != names[::-1]
    alone = [examine([each])[0].said_shuffled for each in bright_at(frames)[:3]]
    assert alone == shuffled[:3]


@pytest.mark.parametrize("seed", range(6))
def test_no_seed_leaves_frames_in_their_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two frames half the permutations do nothing."""
    monkeypatch.setattr(examined, "SHUFFLE_SEED", seed)
    assert [each.said_shuffled for each in examine(bright_at(2))] == ["frame 1", "frame 0"]


def test_the_closest_of_all_training_frames_and_that_of_first_ones_are_told_apart() -> None:
    """Shade 140 is 1 from the second of clip 0; shade 10 is 7 from the first of clip 1."""
    training = describe_training(Angle(), [clip([70, 141]), clip([17, 110, 80])])
    [scores] = examine([clip([10, 140])], TrainingReference(training, None))
    assert scores.copy_any is not None and scores.copy_first is not None
    assert astuple(scores.copy_any) == pytest.approx((math.cos(0.01), 1, 0, 1))
    assert astuple(scores.copy_first) == pytest.approx((math.cos(0.07), 0, 1, 0))


def test_without_training_clips_nothing_is_held_against_them() -> None:
    [scores] = examine([clip([10, 140])])
    assert (scores.copy_any, scores.copy_first, scores.fidelity) == (None, None, None)
