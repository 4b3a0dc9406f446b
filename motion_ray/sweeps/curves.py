"""What a trial has shown so far, as the policy and the leaderboard read it from its metrics.

The motion of a trial is judged by its training loss on D^m, the clips of the motion: it costs
nothing and needs no classifier that knows the motion. Such losses can be compared only where they
measure the same thing (:func:`yardstick`), and are compared best where both trials drew the same
clips, timesteps and noise at every step (:func:`draws`): the difference of two such losses has a
fraction of the noise of either.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from motion_ray.config import CustomizationConfig
from motion_ray.manifest import canonical_json
from motion_ray.types import ExampleSet

#: Settings that decide what the loss on D^m measures ...
_MEASURE = ("base", "motion", "clips", "augmentation", "density")
#: ... and which clips, timesteps and noise it is measured on.
_DRAWS = (*_MEASURE, "seed", "batch_size", "regularization")


@dataclass(frozen=True)
class Scored:
    """A validation: CLIP appearance at a step, and its floor in the same units."""

    step: int
    appearance: float
    floor: float


@dataclass(frozen=True)
class Curve:
    """A trial's course.

    Attributes:
        trial: identity.
        yardstick: losses of trials with the same one can be compared.
        draws: trials with the same one saw the same examples and noise at every step.
        max_steps: at which the trial would end.
        scored: validations in ascending order of steps, step 0 among them.
        losses: step to loss on D^m; steps that drew no motion clip are missing.
    """

    trial: str
    yardstick: str
    draws: str
    max_steps: int
    scored: Sequence[Scored]
    losses: Mapping[int, float] = field(repr=False)

    @property
    def base_appearance(self) -> float | None:
        """Of the untouched base model; null before the first validation."""
        return self.scored[0].appearance if self.scored else None

    def window(self, index: int) -> dict[int, float]:
        """Losses since the validation before ``scored[index]``; none for the first."""
        first = self.scored[index - 1].step if index > 0 else self.scored[0].step
        steps = range(first + 1, self.scored[index].step + 1)
        return {step: self.losses[step] for step in steps if step in self.losses}


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error; the error is infinite below two values."""

    mean: float
    error: float


def read_curve(
    trial: str, config: CustomizationConfig, metrics: Iterable[Mapping[str, Any]]
) -> Curve:
    """The course of a trial from the lines of its ``metrics.jsonl``.

    Args:
        trial: identity.
        config: of the trial.
        metrics: lines as :class:`motion_ray.customization.run.RunFolder` writes them.
    """
    scored, losses = [], {}
    for line in metrics:
        if line["event"] == "validation":
            scored.append(Scored(line["step"], line["appearance"], line["floor"]))
        elif ExampleSet.MOTION in line["losses"]:
            losses[line["step"]] = line["losses"][ExampleSet.MOTION]
    return Curve(trial, yardstick(config), draws(config), config.max_steps, tuple(scored), losses)


def yardstick(config: CustomizationConfig) -> str:
    """What the loss on D^m measures: equal texts, comparable losses."""
    return _digest(config, _MEASURE)


def draws(config: CustomizationConfig) -> str:
    """What is drawn at every step: equal texts, equal examples, timesteps and noise."""
    return _digest(config, _DRAWS)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard error of independent values."""
    if len(values) < 2:
        return Estimate(values[0] if values else math.nan, math.inf)
    return Estimate(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))


def loss_difference(one: Curve, other: Curve, index: int, other_index: int) -> Estimate:
    """How much higher the loss of ``one`` is before a validation than that of ``other``.

    Args:
        one: a curve.
        other: a curve of the same yardstick.
        index: the validation of ``one``.
        other_index: the validation of ``other``.
    """
    left, right = one.window(index), other.window(other_index)
    shared = sorted(left.keys() & right.keys())
    if one.draws == other.draws and len(shared) > 1:
        return estimate([left[step] - right[step] for step in shared])
    left_mean, right_mean = estimate(list(left.values())), estimate(list(right.values()))
    return Estimate(left_mean.mean - right_mean.mean, math.hypot(left_mean.error, right_mean.error))


def _digest(config: CustomizationConfig, names: tuple[str, ...]) -> str:
    values = config.model_dump(mode="json", include=set(names))
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()
