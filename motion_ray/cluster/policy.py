"""The sweep's policy as a Ray Tune scheduler: trials that are outdone give their slot to others.

Tune's own schedulers maximise one metric. None of those that a customization reports can be
maximised (:mod:`motion_ray.sweeps.policy` says why), so the verdict is that module's, on whole
curves as they stand in the run folders.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from motion_ray.cluster.runs import Runs
from motion_ray.cluster.trial_driver import IDENTITY
from motion_ray.errors import LedgerError, MirrorError
from motion_ray.sweeps.curves import Curve, read_curve
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.policy import judge
from motion_ray.sweeps.spec import PolicySettings
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial

logger = logging.getLogger(__name__)

STANDING = (TrialState.RUNNING, TrialState.FINISHED)


class PolicyScheduler(FIFOScheduler):
    """Starts trials in their order, and ends those that the policy names.

    Args:
        settings: of the policy.
        ledger: folder of the record.
        runs: the run folders.
        desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`, which records the reason.
    """

    def __init__(self, settings: PolicySettings, ledger: str, runs: Runs, desk: Any) -> None:
        super().__init__()
        self._settings, self._desk = settings, desk
        self._curves = StandingCurves(Ledger(ledger), runs)
        self._seen: dict[str, float] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See :class:`ray.tune.schedulers.TrialScheduler`; only a new validation is judged."""
        identity, appearance = trial.config[IDENTITY], result["appearance"]
        if appearance is None or self._seen.get(identity) == appearance:
            return TrialScheduler.CONTINUE
        try:
            curves, running = self._curves.of_motion(identity)
        except (LedgerError, MirrorError) as error:
            # What is raised here ends the sweep, and storage that fails may be back at the next
            # report, when this validation is looked at again.
            logger.warning("trial %s is not judged now: %s", identity[:12], error)
            return TrialScheduler.CONTINUE
        self._seen[identity] = appearance
        for verdict in judge(curves, running, self._settings):
            if verdict.trial == identity:
                self._desk.stop_trial.remote(identity, verdict.reason)
                return TrialScheduler.STOP
        return TrialScheduler.CONTINUE


class StandingCurves:
    """Curves of the trials that a trial can be compared with.

    Args:
        ledger: the record.
        runs: the run folders.
    """

    def __init__(self, ledger: Ledger, runs: Runs) -> None:
        self._ledger, self._runs = ledger, runs
        self._finished: dict[str, Curve] = {}

    def of_motion(self, identity: str) -> tuple[Sequence[Curve], Sequence[str]]:
        """Curves of all trials of a trial's motion that run or have finished, and who runs.

        Raises:
            LedgerError: the record cannot be read.
            MirrorError: the mirror of one of them cannot be read.
        """
        statuses, trials = self._ledger.statuses(), self._ledger.trials()
        curves, running = [], []
        for trial in trials.values():
            if trial.motion != trials[identity].motion or trial.identity not in statuses:
                continue
            state = statuses[trial.identity].state
            if state in STANDING:
                curves.append(self._curve(trial, finished=state is TrialState.FINISHED))
            if state is TrialState.RUNNING:
                running.append(trial.identity)
        return curves, running

    def _curve(self, trial: Trial, finished: bool) -> Curve:
        if trial.identity in self._finished:
            return self._finished[trial.identity]
        curve = read_curve(trial.identity, trial.config, self._runs.metrics(trial))
        if finished:
            self._finished[trial.identity] = curve  # it does not change any more
        return curve
