"""TRN, the paper's motion classifier: BN-Inception over eight frames, and relations between them.

B. Zhou et al., Temporal Relational Reasoning in Videos (ECCV 2018), in the form that was published
for Jester: a BN-Inception (S. Ioffe, C. Szegedy, 2015) turns every frame into 256 numbers; small
networks over ordered groups of 8, 7, .. 2 frames vote for a gesture. Module names are those of the
published weights, so that they load once :mod:`~motion_ray.evaluation.motion_trn_weights` has
converted them. Groups of fewer than eight frames are drawn at random there, in every call anew;
here the draw is fixed, so that a video has one answer. Shapes: n videos, f frames, h/w pixels, c
classes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "TRNMultiscale"  # as a config's architectures call it
FEATURES, BOTTLENECK = 256, 256
GROUPS = 3  # of each size below all frames, that are looked at


@dataclass(frozen=True)
class Block:
    """Channels of an Inception block's branches; 0 leaves a branch out.

    Attributes:
        single: of the 1x1 branch.
        reduce: before the 3x3 convolution.
        triple: after it.
        double_reduce: before the two 3x3 convolutions.
        double: of both of them.
        pooled: of the pooling branch's projection; 0 passes the pooled input on.
        stride: 2 halves the picture.
        maximum: whether the pooling takes the maximum, else the mean.
    """

    single: int
    reduce: int
    triple: int
    double_reduce: int
    double: int
    pooled: int
    stride: int = 1
    maximum: bool = False

    def width(self, channels: int) -> int:
        """Channels that come out if so many go in."""
        return self.single + self.triple + self.double + (self.pooled or channels)


BLOCKS = {
    "3a": Block(64, 64, 64, 64, 96, 32),
    "3b": Block(64, 64, 96, 64, 96, 64),
    "3c": Block(0, 128, 160, 64, 96, 0, stride=2, maximum=True),
    "4a": Block(224, 64, 96, 96, 128, 128),
    "4b": Block(192, 96, 128, 96, 128, 128),
    "4c": Block(160, 128, 160, 128, 160, 128),
    "4d": Block(96, 128, 192, 160, 192, 128),
    "4e": Block(0, 128, 192, 192, 256, 0, stride=2, maximum=True),
    "5a": Block(352, 192, 320, 160, 224, 128),
    "5b": Block(352, 192, 320, 192, 224, 128, maximum=True),
}
STEM, LAST = 192, 1024  # channels before the blocks and after them


class BnInception(nn.Module):
    """The network over one frame, with the published names; a frame ``[n, 3, h, w]`` in BGR order,
    0..255 less the mean, becomes ``[n, 1024]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._add("conv1_7x7_s2", 3, 64, 7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, STEM, 3)
        channels = STEM
        for name, block in BLOCKS.items():
            before = f"inception_{name}"
            if block.single:
                self._add(f"{before}_1x1", channels, block.single, 1)
            self._add(f"{before}_3x3_reduce", channels, block.reduce, 1)
            self._add(f"{before}_3x3", block.reduce, block.triple, 3, stride=block.stride)
            self._add(f"{before}_double_3x3_reduce", channels, block.double_reduce, 1)
            self._add(f"{before}_double_3x3_1", block.double_reduce, block.double, 3)
            self._add(f"{before}_double_3x3_2", block.double, block.double, 3, stride=block.stride)
            if block.pooled:
                self._add(f"{before}_pool_proj", channels, block.pooled, 1)
            channels = block.width(channels)

    def _add(self, name: str, inside: int, outside: int, size: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inside, outside, size, stride=stride, padding=size // 2)
        self.add_module(name, convolution)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outside))

    def _step(self, name: str, pictures: Tensor) -> Tensor:
        normed = getattr(self, f"{name}_bn")(getattr(self, name)(pictures))
        return functional.relu(normed)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pooled features ``[n, 1024]``."""
        found = _halved(self._step("conv1_7x7_s2", pictures))
        found = self._step("conv2_3x3", self._step("conv2_3x3_reduce", found))
        found = _halved(found)
        for name, block in BLOCKS.items():
            found = self._block(f"inception_{name}", block, found)
        return found.mean((2, 3))

    def _block(self, before: str, block: Block, pictures: Tensor) -> Tensor:
        branches = []
        if block.single:
            branches.append(self._step(f"{before}_1x1", pictures))
        reduced = self._step(f"{before}_3x3_reduce", pictures)
        branches.append(self._step(f"{before}_3x3", reduced))
        reduced = self._step(f"{before}_double_3x3_reduce", pictures)
        middle = self._step(f"{before}_double_3x3_1", reduced)
        branches.append(self._step(f"{before}_double_3x3_2", middle))
        branches.append(self._pooled(before, block, pictures))
        return torch.cat(branches, 1)

    def _pooled(self, before: str, block: Block, pictures: Tensor) -> Tensor:
        if block.stride == 2:
            return _halved(pictures)
        if block.maximum:
            pooled = functional.max_pool2d(pictures, 3, stride=1, padding=1)
        else:
            pooled = functional.avg_pool2d(pictures, 3, stride=1, padding=1)
        return self._step(f"{before}_pool_proj", pooled)


class Relations(nn.Module):
    """Votes of ordered groups of frames: ``[n, f, 256]`` to ``[n, c]``."""

    def __init__(self, frames: int, classes: int) -> None:
        super().__init__()
        self.sizes = tuple(range(frames, 1, -1))
        self.fc_fusion_scales = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Linear(size * FEATURES, BOTTLENECK),
                nn.ReLU(),
                nn.Linear(BOTTLENECK, classes),
            )
            for size in self.sizes
        )
        self.groups = [_some_groups(frames, size) for size in self.sizes]

    def forward(self, features: Tensor) -> Tensor:
        """The sum of all votes."""
        votes = [
            network(features[:, list(group)].flatten(1))
            for network, groups in zip(self.fc_fusion_scales, self.groups, strict=True)
            for group in groups
        ]
        return torch.stack(votes).sum(0)


class Trn(nn.Module):
    """The whole classifier: RGB frames ``[n, f, 3, h, w]``, 0..255 less the mean, to ``[n, c]``."""

    def __init__(self, frames: int, classes: int) -> None:
        super().__init__()
        self.base_model = BnInception()
        self.new_fc = nn.Linear(LAST, FEATURES)
        self.consensus = Relations(frames, classes)

    def forward(self, videos: Tensor) -> Tensor:
        """Logits."""
        pictures = videos.flatten(0, 1).flip(1)  # it was trained on BGR
        features = self.new_fc(self.base_model(pictures))
        return self.consensus(features.unflatten(0, videos.shape[:2]))


def trn_logits(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model as a video classifier calls it."""
    return lambda inputs: model(inputs)


def _some_groups(frames: int, size: int) -> list[tuple[int, ...]]:
    """Ordered groups of frames: all frames, or some of the smaller groups by a fixed lot."""
    every = list(itertools.combinations(range(frames), size))
    return random.Random(f"relations of {size}").sample(every, min(GROUPS, len(every)))


def _halved(pictures: Tensor) -> Tensor:
    return functional.max_pool2d(pictures, 3, stride=2, ceil_mode=True)
