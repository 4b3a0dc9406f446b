"""Which example a training step sees: the mixture of D^m and D^r (paper Eq. 3).

A pure function of the position, so that resuming needs no state and skipping costs nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import torch

from motion_ray.types import Draw, ExampleSet


@dataclass(frozen=True)
class Mixture:
    """An endless, shuffled sequence of examples.

    Any first n positions hold ``n * share`` regularization examples, to within one. Each set runs
    through
    epochs: seeded permutations of all its (clip, variant) pairs.

    Attributes:
        motion_clips: size of D^m, at least 1.
        regularization_clips: size of D^r; 0 leaves D^r out, whatever the share.
        variants: augmented variants of every clip.
        share: share of examples from D^r, in (0, 1).
        seed: of the permutations.
    """

    motion_clips: int
    regularization_clips: int
    variants: int
    share: float
    seed: int

    def __post_init__(self) -> None:
        if self.motion_clips < 1 or self.regularization_clips < 0 or self.variants < 1:
            raise ValueError(f"a mixture needs motion clips and variants, got {self}")
        if self.regularization_clips and not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share}")

    def draw(self, position: int) -> Draw:
        """The example at a position, counted from 0."""
        if position < 0:
            raise ValueError(f"position must not be negative, got {position}")
        before = self._regularization_before(position)
        if self._regularization_before(position + 1) > before:
            return self._member(ExampleSet.REGULARIZATION, self.regularization_clips, before)
        return self._member(ExampleSet.MOTION, self.motion_clips, position - before)

    def _regularization_before(self, position: int) -> int:
        if not self.regularization_clips:
            return 0
        # Exact: 0.29 * 100 is 28.999.. in floating point
        return int(position * Fraction(str(self.share)))

    def _member(self, source: ExampleSet, clips: int, index: int) -> Draw:
        epoch, place = divmod(index, clips * self.variants)
        digest = hashlib.sha256(f"{self.seed}/{source}/{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        chosen = int(torch.randperm(clips * self.variants, generator=generator)[place])
        return Draw(source, *divmod(chosen, self.variants))
