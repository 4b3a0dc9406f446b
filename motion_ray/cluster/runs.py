"""Where the trials of a sweep run, and what can be known of them from elsewhere."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from motion_ray.customization.run import RunFolder
from motion_ray.errors import RunFolderError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.mirror import CHECKPOINTS, RunMirror
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished

COPIES = "copies"  # beside the run folders: what was brought from mirrors to be looked at
METRICS, RESULT, REPORT = "metrics.jsonl", "result.json", "report.html"

logger = logging.getLogger(__name__)


def run_folder(runs: Path, trial: Trial) -> Path:
    """Where a trial of a sweep runs: named by what it is, so that it finds its checkpoints."""
    return runs / trial.motion / trial.short


@dataclass(frozen=True)
class Runs:
    """The run folders of a sweep.

    Attributes:
        work: folder of the folders in which trials run. Without mirrors every machine sees it;
            with them each machine has its own under the same name.
        mirror: path or URI of the folder of their mirrors; null: there are none.
    """

    work: Path
    mirror: str | None = None

    def folder(self, trial: Trial) -> Path:
        """Where a trial runs."""
        return run_folder(self.work, trial)

    def uri(self, trial: Trial) -> str | None:
        """Where its mirror is; null: it has none."""
        return None if self.mirror is None else f"{self.mirror}/{trial.motion}/{trial.short}"

    def metrics(self, trial: Trial) -> list[dict[str, Any]]:
        """What a trial has measured so far; in a mirror, up to its last validation.

        Raises:
            MirrorError: its mirror cannot be read.
        """
        return RunFolder(self._brought(trial, METRICS)).read_metrics()

    def result(self, trial: Trial) -> RunFinished | None:
        """What came of a trial, as it says itself; null if nothing has yet.

        Raises:
            MirrorError: its mirror cannot be read.
        """
        result, uri = RunFolder(self._brought(trial, RESULT)).finished(), self.uri(trial)
        if result is None or uri is None:
            return result
        return replace(result, report=f"{uri}/{REPORT}")  # not where it was written

    def gathered(self, trial: Trial, *, finished: bool) -> Path:
        """A folder on this machine with what the leaderboard shows of a trial.

        Args:
            trial: which.
            finished: also its page and its videos.

        Raises:
            MirrorError: its mirror cannot be read.
        """
        return self._brought(trial, "" if finished else METRICS)

    @property
    def copies(self) -> Path:
        """Where files from mirrors are brought to; the folder of the leaderboard then."""
        return self.work.parent / COPIES

    def _brought(self, trial: Trial, prefix: str) -> Path:
        uri = self.uri(trial)
        if uri is None:
            return self.folder(trial)
        copy = run_folder(self.copies / self.work.name, trial)
        RunMirror(uri).fetch(
            copy, lambda path: path.startswith(prefix) and not path.startswith(CHECKPOINTS)
        )
        return copy


def settle_finished(ledger: Ledger, runs: Runs) -> list[str]:
    """Put results into the record that a killed submission did not get to; returns identities.

    A run writes its result itself, before anybody else hears of it. A damaged one is left to its
    trial, which starts, says so and fails alone.

    Raises:
        LedgerError: the record cannot be written.
        MirrorError: a mirror cannot be read.
    """
    settled = []
    for identity, status in ledger.statuses().items():
        if status.state is not TrialState.WAITING:
            continue
        try:
            result = runs.result(ledger.trials()[identity])
        except RunFolderError as fault:
            logger.warning("%s", fault)
            continue
        if result is None:
            continue
        attempt = ledger.start(identity, "read from its folder")
        if attempt is not None:
            ledger.finish(identity, attempt, result, 0.0)
            settled.append(identity)
    return settled
