"""Which differences other trainings would show too: tests whose units are trainings, not videos.

A verdict says whether other prompts would give another answer. Another training may give another
one as well: the same method, motion and clips with another seed learn more or less. So here the
mean difference of a training (a motion and a training seed that all methods of a claim have) is one
number, however many videos are behind it. If it were above zero as often as below, by the same
amounts, the sign of each would be a coin's: that is tested. Of five trainings the smallest possible
p is 1/16, of fifteen (five motions, three seeds) 1/16384. Motions that contradict each other make p
larger, as trainings of one motion do; the interval resamples trainings within each motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from motion_ray.evaluation.bootstrap import Estimate, Observation, against_zero
from motion_ray.evaluation.multiple import holm
from motion_ray.reproduction.claims import (
    CHANCE,
    LEVEL,
    Contrast,
    Key,
    Observed,
    differences,
    reason_for_none,
)
from motion_ray.reproduction.experiment import Experiment

FEWEST = 6  # trainings: of five, p cannot be below LEVEL whatever they show
SAME = 1e-9  # means of a training that differ by rounding alone
SURVIVES = "yes"


@dataclass(frozen=True)
class Survival:
    """What trainings say about a difference.

    Attributes:
        claim: the statement.
        estimate: of the contrast; its interval resamples the trainings of each motion, and is
            infinite where a motion has one only.
        better: trainings that are as claimed.
        worse: trainings that are the other way round.
        trainings: how many there are, of all motions.
        motions: of which there are any, in order.
        p: corrected over all that have :data:`FEWEST`; None: this one has not.
    """

    claim: Contrast
    estimate: Estimate
    better: int
    worse: int
    trainings: int
    motions: tuple[str, ...]
    p: float | None = None

    @property
    def word(self) -> str:
        """Whether it survives, in a word; empty if there are too few trainings to tell."""
        if self.p is None:
            return ""
        if self.p >= LEVEL:
            return CHANCE
        return SURVIVES if self.estimate.value > 0 else f"no: {self.claim.otherwise}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "claim": self.claim.text,
            "estimate": self.estimate.to_dict(),
            "better": self.better,
            "worse": self.worse,
            "trainings": self.trainings,
            "motions": list(self.motions),
            "corrected_p": self.p,
            "survives": self.word,
        }


def survivals_of(
    experiments: Sequence[Experiment], observed: Mapping[Key, Observed | str]
) -> list[Survival]:
    """Of every difference that was measured, in the order of the claims.

    Those of too few trainings could not be found whichever way these pointed, so they are no reason
    to be stricter with the others (the first step of R. Tarone's, 1990).

    Args:
        experiments: all of a report, since their claims are corrected together.
        observed: what :func:`motion_ray.reproduction.verdicts.observe` has of them.
    """
    found = [
        _survival(claim, observed)
        for each in experiments
        for claim in each.claims
        if isinstance(claim, Contrast) and not reason_for_none(claim, observed)
    ]
    raw = {n: each.p for n, each in enumerate(found) if each.p is not None}
    corrected = holm(raw)
    return [replace(each, p=corrected.get(number)) for number, each in enumerate(found)]


def _survival(claim: Contrast, observed: Mapping[Key, Observed | str]) -> Survival:
    """With p not yet corrected."""
    values: dict[tuple[str, int], list[float]] = {}
    for pair, each in differences(claim, observed).items():
        assert isinstance(pair, tuple)  # findings name videos by Pair
        motion, _, _, seed = pair
        values.setdefault((motion, seed), []).append(each.value)
    trainings = [Observation(fmean(own), key, key[0]) for key, own in values.items()]
    better, worse = (sum(sign * each.value > SAME for each in trainings) for sign in (1, -1))
    found, number = against_zero(trainings), len(trainings)
    motions = tuple(dict.fromkeys(motion for motion, _ in values))
    p = found.p if number >= FEWEST else None
    return Survival(claim, found.estimate, better, worse, number, motions, p)
