"""The record of a reproduction: which cells there are, and what became of each.

It is the ledger of a sweep (:mod:`motion_ray.sweeps.ledger`) whose trials are the cells, so cells
that were trained one after another in one process and cells that were trained on a cluster are the
same to whoever goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import step_name
from motion_ray.customization.run import Resolve, RunFolder
from motion_ray.errors import ConfigError, MotionRayError, NonFiniteLossError, RunFolderError
from motion_ray.reproduction.cells import Cell, config_of
from motion_ray.reproduction.clips import Clips
from motion_ray.sweeps.identity import ContentHashes
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished

#: Failures that are results: appearance below the floor before there is a step to keep, a loss that
#: explodes. The same settings would end so again; other failures are tried again.
RESULTS = (ConfigError, NonFiniteLossError)


@dataclass(frozen=True)
class Trained:
    """A finished cell.

    Attributes:
        cell: itself.
        config: of its run.
        deltas: step to the name of its delta in the store, in ascending order; the last is the
            cell's result.
        stopped: why training ended.
        seconds: of its steps and validations.
    """

    cell: Cell
    config: CustomizationConfig
    deltas: dict[int, str]
    stopped: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A cell that cannot be trained, however often it is tried.

    Attributes:
        cell: itself.
        reason: in a line.
    """

    cell: Cell
    reason: str


@dataclass(frozen=True)
class Record:
    """Cells as trials of a sweep.

    Attributes:
        root: of the reproduction: ``ledger/``, ``cells/``, ``store/`` and ``cache/`` are in it.
        ledger: knows all trials.
        trials: by cell, in the order in which they should be trained.
    """

    root: Path
    ledger: Ledger
    trials: Mapping[Cell, Trial]

    @property
    def runs(self) -> Path:
        """Folder of the run folders, each called as its cell."""
        return self.root / "cells"

    @property
    def store(self) -> Path:
        """Of the deltas of all cells."""
        return self.root / "store"

    @property
    def cache(self) -> Path:
        """Encoded clips and texts, shared by all cells."""
        return self.root / "cache"

    def run(self, trial: Trial) -> RunFolder:
        """The run of a cell."""
        return RunFolder(self.runs / trial.motion)

    def statuses(self) -> dict[str, TrialStatus]:
        """Where each cell stands, by the trial's identity, in order."""
        known = self.ledger.statuses()
        return {trial.identity: known[trial.identity] for trial in self.trials.values()}

    def waiting(self) -> list[Trial]:
        """Cells that are left to train, in order."""
        statuses = self.statuses()
        return [trial for trial in self.trials.values() if not statuses[trial.identity].state.over]

    def outcomes(self) -> tuple[list[Trained], list[Failed]]:
        """What became of every cell.

        Raises:
            MotionRayError: one is not over, or failed for a reason that is no result.
        """
        statuses, trained, failed = self.statuses(), list[Trained](), list[Failed]()
        for cell, trial in self.trials.items():
            status = statuses[trial.identity]
            if status.state is TrialState.FINISHED:
                trained.append(self._trained(cell, trial))
            elif _is_result(status):
                failed.append(Failed(cell, status.reason))
            else:
                rule = f"is not trained: {status.reason or status.state}"
                raise MotionRayError(cell.name, rule, "run the same command again to go on")
        return trained, failed

    def _trained(self, cell: Cell, trial: Trial) -> Trained:
        run = self.run(trial)
        finished = run.finished()
        if finished is None:
            fix = f"bring it back, or remove {self.ledger.uri}: what is finished is found again"
            raise RunFolderError(run.root, "has lost its result.json", fix)
        seconds = sum(line.get("seconds", 0.0) for line in run.read_metrics())
        deltas = _deltas(trial.config, finished)
        return Trained(cell, trial.config, deltas, finished.reason, seconds)


def open_record(
    root: Path,
    cells: Sequence[Cell],
    clips: Clips,
    resolve: Resolve,
    *,
    retry_failed: bool = False,
) -> Record:
    """The record of a reproduction with these cells in it; clips that are missing are drawn.

    The caller holds the folder, so nobody else trains them.

    Args:
        root: of the reproduction.
        cells: to train, in order.
        clips: to learn from.
        resolve: makes the paths of a config absolute.
        retry_failed: whether cells that could not be trained are to be tried again.

    Raises:
        MotionRayError: settings that do not fit, a folder of another run, a damaged record.
    """
    hashes, trials = ContentHashes(), dict[Cell, Trial]()
    for cell in cells:
        config = resolve(config_of(cell, clips))
        settings = {"method": cell.method, "motion": cell.motion, "seed": cell.seed}
        trials[cell] = Trial(hashes.trial(config), cell.name, settings, config)
    record = Record(root, Ledger(root / "ledger"), trials)
    for trial in trials.values():
        run = record.run(trial)
        run.adopt(trial.config, resolve)
        run.check(trial.config)
    record.ledger.add(trials.values())
    record.ledger.release("the process that trained it is gone")
    _settle(record, retry_failed)
    return record


def _settle(record: Record, retry_failed: bool) -> None:
    """Take in what was finished without the record, and reopen what can be tried again."""
    statuses = record.statuses()
    for trial in record.trials.values():
        identity, status = trial.identity, statuses[trial.identity]
        if status.state is TrialState.FAILED and (retry_failed or not _is_result(status)):
            record.ledger.reopen(identity, "the same command was given again")
        finished = record.run(trial).finished()
        if finished is not None:
            attempt = record.ledger.start(identity, "read from its folder")
            if attempt is not None:
                record.ledger.finish(identity, attempt, finished, 0.0)


def _is_result(status: TrialStatus) -> bool:
    names = {each.__name__ for each in RESULTS}
    return status.state is TrialState.FAILED and status.error in names


def _deltas(config: CustomizationConfig, finished: RunFinished) -> dict[int, str]:
    last = finished.delta_step
    assert config.name is not None
    found = {}
    if config.validation.publish:
        found = {
            step: step_name(config.name, step)
            for step in range(config.validation.every, last, config.validation.every)
        }
    return {**found, last: finished.delta}
