"""Which motions a generation runs with: exact versions, each with a weight.

A weight is a dial between the base model (0) and the motion (1), and may go beyond: each parameter
becomes base + sum of weight x (motion - base). Two requests for the same motions and weights have
the same key whatever their order, and so the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from motion_ray.errors import RequestError
from motion_ray.store import DeltaRecord

BASE = "base"
"""Key of no motion at all."""


@dataclass(frozen=True)
class Part:
    """One motion of a mix.

    Attributes:
        record: the version, by content id.
        weight: not 0.
    """

    record: DeltaRecord
    weight: float


@dataclass(frozen=True)
class Mix:
    """Motions with weights, in canonical order; from :meth:`of`.

    Attributes:
        parts: sorted by content id, each content once.
    """

    parts: tuple[Part, ...] = ()

    @staticmethod
    def of(weighted: Iterable[tuple[DeltaRecord, float]]) -> Mix:
        """The mix of these motions. Weight 0 leaves a motion out; one named twice counts twice.

        Raises:
            RequestError: a weight is not a finite number.
        """
        totals: dict[str, Part] = {}
        for record, weight in weighted:
            if not math.isfinite(weight):
                rule = f"{weight} is not a finite number"
                raise RequestError(f"weight of {record.reference}", rule, "for example 1.0")
            before = totals.get(record.sha256)
            total = float(weight) + (before.weight if before else 0.0)
            totals[record.sha256] = Part(before.record if before else record, total)
        return Mix(tuple(part for _, part in sorted(totals.items()) if part.weight))

    @property
    def single(self) -> DeltaRecord | None:
        """The one motion, if this is one motion at weight 1: its values are used as they are."""
        if len(self.parts) == 1 and self.parts[0].weight == 1.0:
            return self.parts[0].record
        return None

    @property
    def key(self) -> str:
        """The same for equal mixes; a single motion's is its content id."""
        if self.single is not None:
            return self.single.sha256
        return "+".join(f"{part.record.sha256}*{part.weight!r}" for part in self.parts) or BASE

    @property
    def label(self) -> str:
        """For people, e.g. ``wave@2 + hat@1 x 0.5``."""
        named = [
            part.record.reference + ("" if part.weight == 1 else f" x {part.weight:g}")
            for part in self.parts
        ]
        return " + ".join(named) or "no motion"
