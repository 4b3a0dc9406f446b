"""From rows to the numbers of a report: scores with intervals, controls, comparisons.

Everything here is computed from rows alone. A video that could not be made counts as one whose
motion was not recognised, and has no other score; how many there are stands beside every score.
Copying is refused where real clips that were not trained on would count as copies as well, or where
there are no such clips to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from motion_ray.evaluation.bootstrap import (
    Difference,
    Estimate,
    Observation,
    estimate_mean,
    estimate_rate,
    paired_difference,
)
from motion_ray.evaluation.consistency import seed_diversity
from motion_ray.evaluation.copying import CONTROL_LIMIT, NearestFrame
from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.multiple import holm

Value = Callable[[Measurement], float | None]
EVERY_MOTION = "all motions"

#: Shares of videos: what each is counted by. None leaves a video out.
RATES: Mapping[str, Value] = {
    "motion accuracy": lambda row: float(row.right),
    "accuracy reversed": lambda row: _said(row, "said_reversed"),
    "accuracy shuffled": lambda row: _said(row, "said_shuffled"),
    "kind": lambda row: _as_asked(row, "kind"),
    "colour": lambda row: _as_asked(row, "colour"),
    "place": lambda row: _as_asked(row, "place"),
}
#: Means over videos.
MEANS: Mapping[str, Value] = {
    "CLIP appearance": lambda row: row.scores and row.scores.appearance,
    "text alignment": lambda row: row.scores and row.scores.alignment,
    "temporal consistency": lambda row: row.scores and row.scores.consistency,
    "motion fidelity": lambda row: row.scores and row.scores.fidelity,
}
COPYING_ANY, COPYING_FIRST, DIVERSITY = "copying, any frame", "copying, first frames", "diversity"
NO_REAL_CLIPS = (
    "No real clips that were not trained on were looked at: what the classifier makes of such is "
    "not known, and copying has no negative control."
)
#: What a customized motion is compared with the base in.
COMPARED = ("motion accuracy", "CLIP appearance", "text alignment")


@dataclass(frozen=True)
class Group:
    """Scores of the videos of one part that belong together.

    Attributes:
        part: of the protocol.
        name: a delta, a motion, or :data:`EVERY_MOTION`.
        videos: how many were asked for.
        failed: how many could not be made.
        scores: those that were measured, by name.
        refused: scores that say nothing here, and why.
    """

    part: Part
    name: str
    videos: int
    failed: int
    scores: dict[str, Estimate]
    refused: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "part": str(self.part),
            "name": self.name,
            "videos": self.videos,
            "failed": self.failed,
            "scores": {name: each.to_dict() for name, each in self.scores.items()},
            "refused": self.refused,
        }


@dataclass(frozen=True)
class Comparison:
    """One answer to "is it better than the other?", corrected for all that were asked.

    Attributes:
        first: a setting, usually a delta.
        second: the other.
        metric: name of the score.
        difference: first minus second, on the same prompts and seeds.
        corrected: Holm's p value.
    """

    first: str
    second: str
    metric: str
    difference: Difference
    corrected: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        named = {"first": self.first, "second": self.second, "metric": self.metric}
        return {**named, **self.difference.to_dict(), "corrected": self.corrected}


def score_rows(rows: Sequence[Measurement], threshold: float | None) -> dict[str, Estimate]:
    """All scores of rows that belong together.

    Args:
        rows: of one part.
        threshold: cosine that makes a copy; None: copying was not run.
    """
    found: dict[str, Estimate] = {}
    for name, value in RATES.items():
        observed = _observe(rows, value)
        if observed:
            found[name] = estimate_rate(observed)
    for name, value in MEANS.items():
        observed = _observe(rows, value)
        if observed:
            found[name] = estimate_mean(observed)
    varied = _diversity(rows)
    if varied:
        found[DIVERSITY] = estimate_mean(varied)
    if threshold is not None:
        for name, value in copying(threshold).items():
            observed = _observe(rows, value)
            if observed:
                found[name] = estimate_rate(observed)
    return found


def copying(threshold: float) -> dict[str, Value]:
    """Whether a video counts as a copy, of any training frame and of first ones."""
    return {
        COPYING_ANY: lambda row: _above(row.scores and row.scores.copy_any, threshold),
        COPYING_FIRST: lambda row: _above(row.scores and row.scores.copy_first, threshold),
    }


def group_rows(rows: Sequence[Measurement], threshold: float | None) -> list[Group]:
    """Every part of an evaluation: by delta or motion, and all motions together.

    Args:
        rows: of the whole evaluation.
        threshold: cosine that makes a copy; None: copying was not run.
    """
    found = []
    for part in Part:
        members: dict[str, list[Measurement]] = {}
        mine = [row for row in rows if row.question.part is part]
        several = _several_trainings(mine)
        for row in mine:
            name = row.question.reference or row.question.motion
            if name in several:
                name = f"{name} ({row.question.training[:8]})"
            members.setdefault(name, []).append(row)
        if len(members) > 1:
            members[EVERY_MOTION] = [row for each in members.values() for row in each]
        for name, each in members.items():
            found.append(_group(part, name, each, rows, threshold))
    return found


def compare(
    settings: Sequence[tuple[str, Sequence[Measurement], str, Sequence[Measurement]]],
    metrics: Mapping[str, Value],
) -> list[Comparison]:
    """Compare pairs of settings in several scores, with one correction over all of them.

    Args:
        settings: name and rows of a first and of a second setting, which must have asked the same
            motions, prompts and seeds.
        metrics: how each score is read from a row.

    Returns:
        Comparisons of the scores that both settings of a pair have for some video.

    Raises:
        ValueError: a setting has several videos for a pair.
    """
    found: dict[tuple[str, str, str], Difference] = {}
    for first, ours, second, theirs in settings:
        for metric, value in metrics.items():
            one, other = (_pairs(rows, value) for rows in (ours, theirs))
            if one.keys() & other.keys():
                found[first, second, metric] = paired_difference(one, other)
    corrected = holm({key: each.p for key, each in found.items()})
    return [Comparison(*key, each, corrected[key]) for key, each in found.items()]


def compare_with_base(rows: Sequence[Measurement]) -> list[Comparison]:
    """Every delta against the base asked in words, in the scores of :data:`COMPARED`."""
    base: dict[tuple[str, str], list[Measurement]] = {}
    deltas: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.question.part is Part.BASE:
            base.setdefault(_control_of(row), []).append(row)
        elif row.question.part is Part.CUSTOMIZED:
            deltas.setdefault(row.question.reference, []).append(row)
    settings = [
        (name, members, str(Part.BASE), base[_control_of(members[0])])
        for name, members in deltas.items()
        if _control_of(members[0]) in base
    ]
    every = {**RATES, **MEANS}
    return compare(settings, {name: every[name] for name in COMPARED})


def _several_trainings(rows: Sequence[Measurement]) -> set[str]:
    """Motions whose controls are there more than once."""
    trainings: dict[str, set[str]] = {}
    for row in rows:
        if not row.question.reference:
            trainings.setdefault(row.question.motion, set()).add(row.question.training)
    return {motion for motion, each in trainings.items() if len(each) > 1}


def _control_of(row: Measurement) -> tuple[str, str]:
    """Versions of a motion that were trained on other clips have controls of their own, since these
    are compared with the training clips too.
    """
    return row.question.motion, row.question.training


def _group(
    part: Part,
    name: str,
    members: Sequence[Measurement],
    rows: Sequence[Measurement],
    threshold: float | None,
) -> Group:
    scores = score_rows(members, threshold)
    refused: dict[str, str] = {}
    if threshold is not None and part is not Part.REAL:
        motions = dict.fromkeys(row.question.motion for row in members)
        for which, value in copying(threshold).items():
            reasons = {motion: _refusal(motion, rows, value) for motion in motions}
            motion, reason = next(((m, why) for m, why in reasons.items() if why), ("", ""))
            if which in scores and reason:
                refused[which] = f"{motion}: {reason}" if len(motions) > 1 else reason
                del scores[which]
    failed = sum(bool(row.failure) for row in members)
    return Group(part, name, len(members), failed, scores, refused)


def _refusal(motion: str, rows: Sequence[Measurement], value: Value) -> str:
    """Why copying of a motion says nothing; empty if it does."""
    real = [
        value(row)
        for row in rows
        if row.question.part is Part.REAL and row.question.motion == motion
    ]
    counted = [each for each in real if each is not None]
    if not counted:
        return "there are no real clips to tell how many would count as copies"
    share = fmean(counted)
    if share <= CONTROL_LIMIT:
        return ""
    return (
        f"{share:.1%} of real clips that were not trained on count as copies, more than "
        f"{CONTROL_LIMIT:.0%}"
    )


def _observe(rows: Sequence[Measurement], value: Value) -> list[Observation]:
    """The values that there are."""
    found = []
    for row in rows:
        number = value(row)
        if number is not None:
            found.append(observation(row, number))
    return found


def observation(row: Measurement, number: float) -> Observation:
    """A number with its cluster, the prompt: in every motion it has the same words and noise, while
    clips of two folders have nothing in common but their number.
    """
    asked = row.question
    clip_of_a_folder = asked.part is Part.REAL and not asked.appearance_text
    cluster = (asked.motion, asked.prompt) if clip_of_a_folder else asked.prompt
    return Observation(number, cluster, asked.motion)


def _pairs(rows: Sequence[Measurement], value: Value) -> dict[Hashable, Observation]:
    """Values by what makes two videos of two settings a pair."""
    found: dict[Hashable, Observation] = {}
    for row in rows:
        number, asked = value(row), row.question
        if number is None:
            continue
        key = (asked.motion, asked.prompt, asked.seed)
        if key in found:
            raise ValueError(f"a setting has several videos of {key}")
        found[key] = observation(row, number)
    return found


def _said(row: Measurement, form: str) -> float:
    # As in the accuracy beside it, a video that could not be made does not show the motion.
    return float(row.scores is not None and getattr(row.scores, form) == row.question.label)


def _as_asked(row: Measurement, attribute: str) -> float | None:
    asked = getattr(row.question, attribute)
    seen = row.scores and getattr(row.scores, f"seen_{attribute}")
    return float(seen == asked) if seen and asked else None


def _above(nearest: NearestFrame | None, threshold: float) -> float | None:
    return None if nearest is None else float(nearest.score > threshold)


def _diversity(rows: Sequence[Measurement]) -> list[Observation]:
    """Diversity of each prompt that has several videos of one delta."""
    alike: dict[tuple[str, str, int], list[Measurement]] = {}
    for row in rows:
        asked = row.question
        if row.scores is not None:
            alike.setdefault((asked.motion, asked.delta, asked.prompt), []).append(row)
    return [
        observation(
            members[0],
            seed_diversity(
                torch.tensor([each.scores.embedding for each in members if each.scores])
            ),
        )
        for members in alike.values()
        if len(members) > 1
    ]
