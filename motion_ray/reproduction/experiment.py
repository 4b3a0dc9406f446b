"""What a table or figure consists of: rows, scores, scenes and claims, and how they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from motion_ray.recipes.ablations import OURS, Variant
from motion_ray.reproduction.claims import Claim

ACCURACY, APPEARANCE, ALIGNMENT = "motion accuracy", "CLIP appearance", "text alignment"
COPYING, CONSISTENCY = "copying, any frame", "temporal consistency"
NEAREST = "likeness to the nearest training frame"
"""Mean over videos of the highest cosine of the copy detector: it differs where no video, or every
one, counts as a copy."""
COUNT, JUMPING, KICKING = "two puppets seen", "looks like jumping", "looks like kicking"
"""Scores of scenes: share of videos in which two are seen; mean probability of a motion."""
TEMPO = "consistency where recognised"
"""Temporal consistency of the videos in which the motion is recognised: a puppet that stands still
is consistent too, and neither slow nor fast at it."""
BASE = "base in words"
"""Row of the untouched base, asked in natural words (supplement D)."""
FIRST, LAST = "ours, first look", "ours, last look"
"""Rows of our method at the first and the last step that a curve looks at."""


def staged(method: str, scene: str) -> str:
    """Row of what a method made of a scene; or of a kind of puppet, among its usual videos."""
    return f"{method}, {scene}"


def unstaged(row: str) -> tuple[str, str]:
    """Method and scene of a row; the scene is empty where the row is of usual videos."""
    if row in (BASE, FIRST, LAST):
        return row, ""
    method, _, scene = row.partition(", ")
    return method, scene


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        method: ``"ours"``, or what follows the scale in a recipe's name.
        title: in the table.
        paper: the paper's numbers by score.
        headline: trained with every headline seed, so that the noise of training shows.
    """

    method: str
    title: str
    paper: Mapping[str, float] = field(default_factory=dict)
    headline: bool = False


@dataclass(frozen=True)
class Scene:
    """Something else that results are asked for, in the puppet world.

    Attributes:
        name: in the report, and in rows (:func:`staged`).
        count: one puppet or two.
        speed: ``"slowly"``, ``"quickly"``, or neither.
        also: a motion of the base that is asked for at the same time.
    """

    name: str
    count: int = 1
    speed: str = ""
    also: str | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Of what a prompt describes."""
        return {"count": self.count, "speed": self.speed, "also": self.also}


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: on the command line.
        title: in the report.
        rows: methods that are trained for it.
        claims: statements about them.
        curves: whether steps on the way are looked at too.
        control: whether the untouched base is asked in words.
        scenes: that the results of all rows are asked for besides the usual prompts.
        kinds: whether kinds of puppets are told apart, beside the scenes.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    curves: bool = False
    control: bool = False
    scenes: tuple[Scene, ...] = ()
    kinds: bool = False


def rows_of(variants: Iterable[Variant]) -> tuple[Row, ...]:
    """A row for each, ours a headline method."""
    return tuple(Row(v.name, v.title, headline=v is OURS) for v in variants)
