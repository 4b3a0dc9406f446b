"""Which trials are ended early, so that others get their GPUs.

Appearance falls while a motion is learned (paper section 4.1, supplement B, Fig. 7): the untouched
base model has the highest appearance there is. A scheduler that keeps the trials with the best
appearance at each rung, as plain ASHA or median stopping on that metric would, therefore keeps the
trials that have learned nothing: the lowest learning rate wins every rung, and the trials that do
their work are killed first. Appearance is a floor, not a goal. It is never maximised here.

Trials are compared by what they were started for, the motion, at matched appearance and matched
step. A trial is ended

* as **diverging**, when its loss on D^m stands above a multiple of its first one;
* as **dominated**, when another trial at the same step has a lower loss on D^m by several standard
  errors, and has not paid for it: its appearance is above the floor and no lower than the trial's
  own (within a tolerance);
* as **unmoved**, when its appearance is still the base model's, its loss is not below its first
  one, and another trial at the same step has learned more and is above the floor. This is the trial
  that appearance alone would crown.

A trial that has given up appearance within the floor for a better motion is never ended for it, and
a trial that has learned less never ends another. No verdict falls before a grace period. A trial
that diverges needs no rival, and one validation is enough once its loss is twice beyond the bound.
No other verdict falls on one validation alone, and none without a rival that is still running or
has finished: of the trials of a motion that do not diverge one always remains.

Everything is looked at when a trial is validated, and only trials with a floor are: a policy needs
one (``validation.floor``, or ``appearance`` of the sweep).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from motion_ray.sweeps.curves import Curve, estimate, loss_difference
from motion_ray.sweeps.spec import PolicySettings


@dataclass(frozen=True)
class Verdict:
    """The end of a trial.

    Attributes:
        trial: identity.
        rule: which rule it met.
        step: the validation at which it met it.
        reason: in words, for the record.
        rival: identity of the trial that did better; null for a diverging one.
    """

    trial: str
    rule: Literal["diverging", "dominated", "unmoved"]
    step: int
    reason: str
    rival: str | None = None


def judge(
    curves: Iterable[Curve], running: Iterable[str], settings: PolicySettings
) -> list[Verdict]:
    """Which of the running trials to end now.

    The same curves give the same verdicts, in whatever order they come.

    Args:
        curves: of all trials that run or have finished; not of failed and stopped ones.
        running: identities of those that run.
        settings: grace period, confidence and tolerances.
    """
    standing = {curve.trial: curve for curve in curves}
    verdicts = []
    for trial in sorted(set(running) & standing.keys(), key=lambda t: _badness(standing[t])):
        candidate = standing[trial]
        verdict = diverging(candidate, settings)
        if verdict is None:
            rivals = [c for c in standing.values() if _comparable(c, candidate)]
            verdict = _outdone(candidate, sorted(rivals, key=lambda c: c.trial), settings)
        if verdict is not None:
            verdicts.append(verdict)
            del standing[trial]  # what is ended ends no other
    return verdicts


def diverging(curve: Curve, settings: PolicySettings) -> Verdict | None:
    """Whether the loss has left where it began, at every one of the last validations.

    Not before the warm-up is over: the grace period holds here too, but a single validation is
    enough when the loss has doubled the bound, since such a trial does not come back.
    """
    judged = _judged(curve, settings)
    if not judged:
        return None
    first = estimate(list(curve.window(1).values()))
    ratios = [estimate(list(curve.window(i).values())).mean / first.mean for i in judged]
    confirmed = len(ratios) == settings.confirmations and min(ratios) > settings.diverging
    if confirmed or ratios[-1] > 2 * settings.diverging:
        step = curve.scored[judged[-1]].step
        reason = f"diverging: the loss on the motion is {ratios[-1]:.2f} times its first"
        return Verdict(curve.trial, "diverging", step, f"{reason}, step {step}")
    return None


def _outdone(candidate: Curve, rivals: Sequence[Curve], settings: PolicySettings) -> Verdict | None:
    judged = _judged(candidate, settings)
    if len(judged) < settings.confirmations:
        return None
    for rival in rivals:
        findings = [_finding(candidate, rival, index, settings) for index in judged]
        if None in findings:
            continue
        rule = "dominated" if all(f == "dominated" for f in findings) else "unmoved"
        if rule == "unmoved" and not all(_unmoved(candidate, i, settings) for i in judged):
            continue
        return _verdict(candidate, rival, rule, judged[-1])
    return None


def _finding(
    candidate: Curve, rival: Curve, index: int, settings: PolicySettings
) -> Literal["dominated", "behind"] | None:
    """How a rival stands to a trial at one validation: better for nothing, better at a price, or
    not better.
    """
    own = candidate.scored[index]
    match = next((i for i, each in enumerate(rival.scored) if each.step == own.step), None)
    if match is None:
        return None
    other = rival.scored[match]
    difference = loss_difference(candidate, rival, index, match)
    better = difference.mean > settings.confidence * difference.error
    if not better or other.appearance < other.floor:
        return None
    paid = other.appearance < own.appearance - _tolerance(candidate, settings)
    return "behind" if paid else "dominated"


def _unmoved(curve: Curve, index: int, settings: PolicySettings) -> bool:
    base, own = curve.scored[0].appearance, curve.scored[index].appearance
    first = estimate(list(curve.window(1).values()))
    now = estimate(list(curve.window(index).values()))
    noise = settings.confidence * (first.error**2 + now.error**2) ** 0.5
    return abs(base - own) <= _tolerance(curve, settings) and first.mean - now.mean <= noise


def _judged(curve: Curve, settings: PolicySettings) -> list[int]:
    """The last validations past the grace period, oldest first; at most as many as confirm.

    The first window is what later ones are compared with, so it is never judged itself.
    """
    begin = settings.grace * curve.max_steps
    past = [
        i for i, each in enumerate(curve.scored) if i > 1 and each.step >= begin and curve.window(i)
    ]
    return past[-settings.confirmations :] if past and curve.window(1) else []


def _verdict(
    candidate: Curve, rival: Curve, rule: Literal["dominated", "unmoved"], index: int
) -> Verdict:
    own = candidate.scored[index]
    match = next(i for i, each in enumerate(rival.scored) if each.step == own.step)
    difference = loss_difference(candidate, rival, index, match)
    other = rival.scored[match]
    reason = (
        f"{rule}: at step {own.step} trial {rival.trial[:12]} has a loss on the motion lower by "
        f"{difference.mean:.4f} ± {difference.error:.4f} with appearance {other.appearance:.4f} "
        f"(here {own.appearance:.4f}, floor {other.floor:.4f})"
    )
    return Verdict(candidate.trial, rule, own.step, reason, rival.trial)


def _comparable(rival: Curve, candidate: Curve) -> bool:
    return rival.trial != candidate.trial and rival.yardstick == candidate.yardstick


def _tolerance(curve: Curve, settings: PolicySettings) -> float:
    return settings.appearance_tolerance * abs(curve.scored[0].appearance)


def _badness(curve: Curve) -> tuple[float, str]:
    """Sort key: the highest loss first, so that the worst trial leaves before it is anyone's
    rival.
    """
    last = curve.window(len(curve.scored) - 1) if curve.scored else {}
    return (-estimate(list(last.values())).mean if last else 0.0, curve.trial)
