"""One row of an evaluation: what was asked of one video, and what was measured on it.

Every table of a report is computed from such rows and from nothing else. A video that could not be
made keeps its row, with the reason: it is counted, not forgotten. Shapes: c classes, e width of an
image embedding.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from motion_ray.evaluation.copying import NearestFrame


class Part(enum.StrEnum):
    """What kind of video a row is about."""

    CUSTOMIZED = "customized"
    """By a learned motion, asked for by its token."""
    BASE = "base in words"
    """By the untouched base, asked for in natural words (paper supplement D): the floor."""
    REAL = "real clips"
    """Real clips that were not trained on, through the base's VAE: the ceiling, and the copying
    score's negative control."""


@dataclass(frozen=True)
class Question:
    """One video to make and look at.

    Attributes:
        part: what kind of video.
        motion: name in the store; what a table's row is about.
        label: the class that the motion classifier should say.
        prompt: number in the list of prompts; of real clips without prompts, of the clip.
        seed: of the initial noise; 0 of real clips.
        text: what is asked for.
        appearance_text: what CLIP appearance is scored on; empty: it is not scored.
        natural_text: what text alignment is scored on; empty: it is not scored.
        reference: ``name@version`` of the delta; empty without one. Likewise the next two.
        delta: its content id.
        recipe: that trained it.
        step: optimizer steps behind it; 0 without a delta.
        training_seed: of its training, if it is known; several make training noise visible.
        training: hash of the training clips that copying and fidelity are scored against; empty:
            they are not.
        kind: of puppet, in prompts of the puppet world; likewise the next two. Empty elsewhere.
        colour: of the puppet.
        place: where it is.
    """

    part: Part
    motion: str
    label: str
    prompt: int
    seed: int
    text: str
    appearance_text: str = ""
    natural_text: str = ""
    reference: str = ""
    delta: str = ""
    recipe: str = ""
    step: int = 0
    training_seed: int | None = None
    training: str = ""
    kind: str = ""
    colour: str = ""
    place: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a row the answer to this very question: the same key, the same video."""
        return (
            *(self.part, self.motion, self.label, self.prompt, self.seed, self.text),
            *(self.appearance_text, self.natural_text, self.delta, self.training),
            *(self.kind, self.colour, self.place),
        )


@dataclass(frozen=True)
class Scores:
    """What was measured on one video.

    Attributes:
        said: the class with the highest probability.
        probabilities: of the c classes, in the classifier's order.
        said_reversed: the class of the video played backwards.
        said_shuffled: the class with its frames in random order.
        embedding: unit vector ``[e]`` of its frames' mean, for diversity across seeds.
        consistency: mean cosine of neighbouring frames.
        appearance: CLIP appearance; None if not scored, as all that follow.
        alignment: text alignment.
        fidelity: of its motion, to the training clips.
        copy_any: the training frame that it comes closest to.
        copy_first: the same among the first frames of training clips.
        seen_kind: what the image-text model sees, in the puppet world; likewise the next two.
        seen_colour: of the puppet.
        seen_place: where it is.
    """

    said: str
    probabilities: tuple[float, ...]
    said_reversed: str
    said_shuffled: str
    embedding: tuple[float, ...]
    consistency: float
    appearance: float | None = None
    alignment: float | None = None
    fidelity: float | None = None
    copy_any: NearestFrame | None = None
    copy_first: NearestFrame | None = None
    seen_kind: str | None = None
    seen_colour: str | None = None
    seen_place: str | None = None


@dataclass(frozen=True)
class Measurement:
    """A question with its answer.

    Attributes:
        question: what was asked.
        scores: what was measured, or None.
        failure: why there are no scores; empty if there are.
    """

    question: Question
    scores: Scores | None
    failure: str = ""

    def __post_init__(self) -> None:
        if (self.scores is None) != bool(self.failure):
            raise ValueError("a measurement has either scores or the reason why not")

    @property
    def right(self) -> bool:
        """Whether the motion was recognised; a video that could not be made does not show it."""
        return self.scores is not None and self.scores.said == self.question.label

    def to_row(self) -> dict[str, Any]:
        """Flat, for one row of a table."""
        row = {**asdict(self.question), "part": str(self.question.part), "failure": self.failure}
        values = {} if self.scores is None else asdict(self.scores)
        for which in ("copy_any", "copy_first"):
            nearest = values.pop(which, None) or {}
            row |= {f"{which}_{name}": nearest.get(name) for name in NEAREST}
        names = [each.name for each in fields(Scores) if not each.name.startswith("copy_")]
        return row | {name: values.get(name) for name in names}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Measurement:
        """Undo :meth:`to_row`.

        Raises:
            KeyError, TypeError, ValueError: the row is of something else.
        """
        asked = {each.name: row[each.name] for each in fields(Question)}
        question = Question(**{**asked, "part": Part(asked["part"])})
        if row["failure"]:
            return cls(question, None, row["failure"])
        values = {
            each.name: row[each.name]
            for each in fields(Scores)
            if not each.name.startswith("copy_")
        }
        values |= {name: tuple(values[name]) for name in ("probabilities", "embedding")}
        for which in ("copy_any", "copy_first"):
            nearest = {name: row[f"{which}_{name}"] for name in NEAREST}
            known = nearest["score"] is not None
            values[which] = NearestFrame(**nearest) if known else None
        return cls(question, Scores(**values))


NEAREST = tuple(each.name for each in fields(NearestFrame))
