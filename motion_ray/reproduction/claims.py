"""Statements of the paper that can turn out wrong, and what the measured rows say about them.

A statement is a contrast (a weighted sum of methods' scores is above zero, on the same prompts and
seeds) or a bound (a rate is below a limit). All p values of a report are corrected together (Holm),
because the more statements are tested, the more come out by chance. Bounds are judged one by one,
by exact intervals.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from motion_ray.evaluation.bootstrap import (
    Difference,
    Estimate,
    Observation,
    against_zero,
    estimate_rate,
)
from motion_ray.evaluation.multiple import holm
from motion_ray.evaluation.statistics import Share

LEVEL = 0.05
FEWEST_PROMPTS = 6  # for a limit: five that agree do so by chance with p = 1/16
CHANCE = "it may be chance"
Observed = Mapping[Hashable, Observation]
"""Values of one score of one method, by what makes two videos a pair."""
Key = tuple[str, str, tuple[str, ...]]
"""Method, metric, and the methods among which its looks were matched (none: its results)."""


@dataclass(frozen=True)
class Contrast:
    """The weighted sum of a score over methods is above zero.

    Attributes:
        text: what is claimed, for people.
        metric: name of the score.
        weights: method to weight; ``{"ours": 1, "dreambooth": -2}`` is "at least twice".
        matched: compare where these methods keep the same CLIP appearance, not where each ended.
    """

    text: str
    metric: str
    weights: Mapping[str, float]
    matched: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Whose videos it needs."""
        return tuple(self.weights)

    @property
    def among(self) -> tuple[str, ...]:
        """Methods whose looks are matched with each other."""
        return self.methods if self.matched else ()

    @property
    def plain(self) -> bool:
        """Whether it says that one is more than another, not how many times."""
        return all(abs(weight) == 1 for weight in self.weights.values())

    @property
    def otherwise(self) -> str:
        """What holds where it turned out wrong."""
        return "the opposite holds" if self.plain else "it is less than that"


@dataclass(frozen=True)
class Bound:
    """A rate of one method is below a limit, or above it.

    Attributes:
        text: what is claimed, for people.
        metric: name of a score that is a rate.
        method: whose.
        limit: between 0 and 1.
        above: it is to be above the limit.
    """

    text: str
    metric: str
    method: str
    limit: float
    above: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """Whose videos it needs."""
        return (self.method,)

    @property
    def among(self) -> tuple[str, ...]:
        """A bound is about results."""
        return ()


Claim = Contrast | Bound


class Word(enum.StrEnum):
    """A verdict in a word."""

    REPRODUCED = "reproduced"
    NOT = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """What was found about a claim.

    Attributes:
        claim: the statement.
        word: in a word.
        because: in a sentence.
        estimate: of the contrast or the rate; None if it was not run.
        p: corrected; None for bounds, which are judged by their interval.
    """

    claim: Claim
    word: Word
    because: str
    estimate: Estimate | None = None
    p: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "claim": self.claim.text,
            "verdict": str(self.word),
            "because": self.because,
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
            "corrected_p": self.p,
        }


def judge(claims: Sequence[Claim], observed: Mapping[Key, Observed | str]) -> list[Verdict]:
    """A verdict for every claim.

    Args:
        claims: all of a report, since they are corrected together.
        observed: values, or the reason why there are none.
    """
    reasons = {n: reason_for_none(claim, observed) for n, claim in enumerate(claims)}
    contrasts = {
        n: against_zero(list(differences(claim, observed).values()))
        for n, claim in enumerate(claims)
        if isinstance(claim, Contrast) and not reasons[n]
    }
    # Where no pair differs nothing was tested: it is no reason to be stricter with the others.
    tested = {n: each.p for n, each in contrasts.items() if not _alike(each)}
    corrected = holm(tested)
    found = []
    for n, claim in enumerate(claims):
        if reasons[n]:
            found.append(Verdict(claim, Word.NOT_RUN, reasons[n]))
        elif isinstance(claim, Contrast):
            found.append(_of_contrast(claim, contrasts[n], corrected.get(n)))
        else:
            found.append(_of_bound(claim, observed))
    return found


def reason_for_none(claim: Claim, observed: Mapping[Key, Observed | str]) -> str:
    """Why nothing can be said about a claim; empty if something can."""
    for method in claim.methods:
        values = observed.get((method, claim.metric, claim.among), "it was not trained")
        if isinstance(values, str):
            return f"{method}: {values}"
        if not values:
            return f"{method}: there are no videos"
    if isinstance(claim, Contrast) and not _common(claim, observed):
        return "the methods have no prompts and seeds in common"
    return ""


def _values(claim: Claim, method: str, observed: Mapping[Key, Observed | str]) -> Observed:
    values = observed[method, claim.metric, claim.among]
    assert not isinstance(values, str)  # reason_for_none was asked before
    return values


def _common(claim: Contrast, observed: Mapping[Key, Observed | str]) -> list[Hashable]:
    """Videos that every method of a claim has."""
    first, *others = (_values(claim, method, observed) for method in claim.methods)
    return [key for key in first if all(key in other for other in others)]


def differences(
    claim: Contrast, observed: Mapping[Key, Observed | str]
) -> dict[Hashable, Observation]:
    """The weighted sum of every video that all methods of a claim have; at least one if
    :func:`reason_for_none` has none.
    """
    found: dict[Hashable, Observation] = {}
    for key in _common(claim, observed):
        terms = [
            (weight, _values(claim, method, observed)[key])
            for method, weight in claim.weights.items()
        ]
        total = sum(weight * each.value for weight, each in terms)
        found[key] = Observation(total, terms[0][1].cluster, terms[0][1].stratum)
    return found


def _alike(difference: Difference) -> bool:
    found = difference.estimate
    return found.value == found.low == found.high == 0


def _of_contrast(claim: Contrast, difference: Difference, p: float | None) -> Verdict:
    estimate = difference.estimate
    if p is None:
        because = f"{claim.metric} is the same in all {estimate.videos} pairs: it cannot tell"
        return Verdict(claim, Word.INCONCLUSIVE, because, estimate)
    said = f"{_sum(claim)} is {estimate}, p = {p:.3g} after correction"
    if p >= LEVEL:
        return Verdict(claim, Word.INCONCLUSIVE, f"{said}: {CHANCE}", estimate, p)
    if estimate.value > 0:
        return Verdict(claim, Word.REPRODUCED, said, estimate, p)
    return Verdict(claim, Word.NOT, f"{said}: {claim.otherwise}", estimate, p)


def _of_bound(claim: Bound, observed: Mapping[Key, Observed | str]) -> Verdict:
    values = list(_values(claim, claim.method, observed).values())
    estimate = _exactly(estimate_rate(values))
    said = f"{claim.metric} of {claim.method} is {estimate}"
    prompts = len({each.cluster for each in values})
    if prompts < FEWEST_PROMPTS:
        because = f"{said}: of {prompts} prompts, too few to tell"
        return Verdict(claim, Word.INCONCLUSIVE, because, estimate)
    below, above = estimate.high < claim.limit, estimate.low > claim.limit
    if above if claim.above else below:
        return Verdict(claim, Word.REPRODUCED, said, estimate)
    if below if claim.above else above:
        return Verdict(claim, Word.NOT, said, estimate)
    return Verdict(claim, Word.INCONCLUSIVE, f"{said}: the limit lies inside", estimate)


def _exactly(rate: Estimate) -> Estimate:
    """With an interval no narrower than the exact one of as many videos as there are prompts: four
    of four do not show that more than half are right.
    """
    low, high = Share(round(rate.value * rate.clusters), rate.clusters).exact_interval()
    return replace(rate, low=min(rate.low, low), high=max(rate.high, high))


def _sum(claim: Contrast) -> str:
    """For people: ``"motion accuracy of ours - 2 x dreambooth"``."""
    text = ""
    for method, weight in claim.weights.items():
        sign = "-" if weight < 0 else "+"
        factor = "" if abs(weight) == 1 else f"{abs(weight):g} x "
        text += f" {sign} {factor}{method}"
    return f"{claim.metric} of {text.removeprefix(' + ')}"
