"""Courses of trials that were never run, for the policy to judge in simulated time.

The shape is that of the recorded ones in ``tests/sweeps/recorded``: the loss falls with what was
learned, under noise that trials with the same seed share for the most part; appearance falls a
little with it. How fast a trial learns is drawn anew for each.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping

from motion_ray.sweeps.curves import Curve, Scored
from motion_ray.sweeps.policy import judge
from motion_ray.sweeps.spec import PolicySettings

EVERY = 10  # steps between losses: enough for means, a tenth of the work
BASE, FLOOR = 0.8, 0.72
UNTRAINED, LEARNABLE = 0.25, 0.3  # loss, and the share of it that goes away
SHARED_NOISE, OWN_NOISE, APPEARANCE_NOISE = 0.35, 0.06, 0.002


class ImaginedCourses:
    """The policy's view of simulated trials.

    Args:
        motions: identity of each trial to the name of its motion.
        max_steps: of all.
        settings: of the policy.
        seed: of the courses.
    """

    def __init__(
        self, motions: Mapping[str, str], max_steps: int, settings: PolicySettings, seed: int
    ) -> None:
        self._settings, self._motions, self._max_steps = settings, motions, max_steps
        self._seed, self._chance = seed, random.Random(seed)
        self._rates = {trial: self._chance.lognormvariate(0.5, 1.0) for trial in motions}
        self._curves: dict[str, Curve] = {}
        self._groups: dict[str, list[str]] = defaultdict(list)
        self.ended: set[str] = set()

    def review(self, trial: str, step: int) -> dict[str, str]:
        """The trial was validated at this step; whether to end it, and why."""
        if trial not in self._curves:
            motion = self._motions[trial]
            self._groups[motion].append(trial)
            first = Scored(0, BASE, FLOOR)
            self._curves[trial] = Curve(trial, motion, motion, self._max_steps, (first,), {})
        self._extend(trial, step)
        standing = [t for t in self._groups[self._motions[trial]] if t not in self.ended]
        verdicts = judge([self._curves[each] for each in standing], [trial], self._settings)
        self.ended |= {verdict.trial for verdict in verdicts}
        return {verdict.trial: verdict.reason for verdict in verdicts}

    def best_kept(self) -> float:
        """Share of motions whose best trial, by what it would learn, was not ended."""
        kept = [
            max(trials, key=lambda trial: self._rates[trial]) not in self.ended
            for trials in self._groups.values()
        ]
        return sum(kept) / len(kept)

    def _extend(self, trial: str, step: int) -> None:
        curve = self._curves[trial]
        last = curve.scored[-1].step
        if step <= last:
            return  # told again after a loss
        losses = dict(curve.losses)
        losses |= {at: self._loss(trial, at) for at in range(last + EVERY, step + 1, EVERY)}
        appearance = BASE * (1 - 0.05 * self._learned(trial, step))
        scored = Scored(step, appearance + self._chance.gauss(0, APPEARANCE_NOISE), FLOOR)
        self._curves[trial] = Curve(
            trial, curve.yardstick, curve.draws, self._max_steps, (*curve.scored, scored), losses
        )

    def _learned(self, trial: str, step: int) -> float:
        return 1 - math.exp(-self._rates[trial] * step / self._max_steps)

    def _loss(self, trial: str, step: int) -> float:
        shared = random.Random(f"{self._seed} {self._motions[trial]} {step}").gauss(0, SHARED_NOISE)
        mean = UNTRAINED * (1 - LEARNABLE * self._learned(trial, step))
        return mean * math.exp(shared + self._chance.gauss(0, OWN_NOISE))
