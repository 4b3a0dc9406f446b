"""The record of a reproduction: which cells there are, and what became of each.

It is the ledger of a sweep (:mod:`motion_ray.sweeps.ledger`) whose trials are the cells, so cells
that were trained one after another in one process and cells that were trained on a cluster are the
same to whoever goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import step_name
from motion_ray.customization.run import RunFolder
from motion_ray.errors import (
    ConfigError,
    MotionRayError,
    NonFiniteLossError,
    RunFolderError,
    UnknownMotionError,
)
from motion_ray.reproduction.cells import Cell, config_of
from motion_ray.reproduction.clips import Clips
from motion_ray.store import DeltaStore
from motion_ray.sweeps.identity import ContentHashes
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.sweeps.trials import Resolve
from motion_ray.types import RunFinished

STORE = "store"  # of a reproduction's deltas
#: Failures that are results: appearance below the floor before there is a step to keep, a loss that
#: explodes. The same settings would end so again; other failures are tried again.
RESULTS = (ConfigError, NonFiniteLossError)


@dataclass(frozen=True)
class Learned:
    """What rows say of the delta behind them.

    Attributes:
        reference: ``name@version`` in the store it was published to.
        sha256: its content id.
        token: that asks for it.
        recipe: that trained it.
        step: optimizer steps behind it.
    """

    reference: str
    sha256: str
    token: str
    recipe: str
    step: int


@dataclass(frozen=True)
class Trained:
    """A finished cell.

    Attributes:
        cell: itself.
        identity: of its settings and data, the same on every machine.
        config: of its run.
        deltas: by step, in ascending order; the last is the cell's result.
        stopped: why training ended.
        seconds: of its steps and validations.
        here: whether its deltas are in the store of this reproduction.
    """

    cell: Cell
    identity: str
    config: CustomizationConfig
    deltas: dict[int, Learned]
    stopped: str
    seconds: float = 0.0
    here: bool = True

    @property
    def result(self) -> Learned:
        """The last delta."""
        return self.deltas[max(self.deltas)]


@dataclass(frozen=True)
class Failed:
    """A cell that cannot be trained, however often it is tried.

    Attributes:
        cell: itself.
        reason: in a line.
        identity: as for :class:`Trained`.
    """

    cell: Cell
    reason: str
    identity: str = ""


@dataclass(frozen=True)
class Ended:
    """What became of a cell elsewhere; see :mod:`motion_ray.reproduction.kept`.

    Attributes:
        deltas: by step; none if it cannot be trained.
        reason: why training ended, or why it cannot be trained.
        seconds: of its steps and validations.
    """

    deltas: dict[int, Learned]
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """Cells as trials of a sweep.

    Attributes:
        root: of the reproduction: ``ledger/``, ``cells/``, ``store/`` and ``cache/`` are in it.
        ledger: knows all trials.
        cells: in the order in which they should be trained.
        trials: of the cells that are trained here, in the same order.
        ended: what became of the others, which were trained elsewhere.
    """

    root: Path
    ledger: Ledger
    cells: Sequence[Cell]
    trials: Mapping[Cell, Trial]
    ended: Mapping[Cell, Trained | Failed] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        """Folder of the run folders, each called as its cell."""
        return self.root / "cells"

    @property
    def store(self) -> Path:
        """Of the deltas of all cells."""
        return self.root / STORE

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

    def to_come(self) -> list[Cell]:
        """Cells without a result: not over, or failed for a reason that is none; in order."""
        statuses = self.statuses()
        return [
            cell for cell, trial in self.trials.items() if not _has_result(statuses[trial.identity])
        ]

    def outcomes(self, *, so_far: bool = False) -> tuple[list[Trained], list[Failed]]:
        """What became of every cell, in order.

        Args:
            so_far: leave out those that are :meth:`to_come`.

        Raises:
            MotionRayError: one is to come.
            StoreError: a delta is not in the store any more.
        """
        statuses, store = self.statuses(), DeltaStore(self.store)
        trained, failed = list[Trained](), list[Failed]()
        left_out = set(self.to_come()) if so_far else set[Cell]()
        for cell in self.cells:
            if cell in left_out:
                continue
            end = self.ended.get(cell) or self._end(cell, statuses, store)
            if isinstance(end, Trained):
                trained.append(end)
            else:
                failed.append(end)
        return trained, failed

    def _end(
        self, cell: Cell, statuses: Mapping[str, TrialStatus], store: DeltaStore
    ) -> Trained | Failed:
        trial = self.trials[cell]
        status = statuses[trial.identity]
        if status.state is TrialState.FINISHED:
            return self._trained(cell, trial, store)
        if _is_result(status):
            return Failed(cell, status.reason, trial.identity)
        rule = f"is not trained: {status.reason or status.state}"
        raise MotionRayError(cell.name, rule, "run the same command again to go on")

    def _trained(self, cell: Cell, trial: Trial, store: DeltaStore) -> Trained:
        run = self.run(trial)
        finished = run.finished()
        if finished is None:
            fix = f"bring it back, or remove {self.ledger.uri}: what is finished is found again"
            raise RunFolderError(run.root, "has lost its result.json", fix)
        seconds = sum(line.get("seconds", 0.0) for line in run.read_metrics())
        names = _deltas(trial.config, finished)
        deltas = {step: _learned(store, name) for step, name in names.items()}
        return Trained(cell, trial.identity, trial.config, deltas, finished.reason, seconds)


def open_record(
    root: Path,
    cells: Sequence[Cell],
    clips: Clips,
    resolve: Resolve,
    *,
    retry_failed: bool = False,
    ended: Mapping[str, Ended] | None = None,
) -> Record:
    """The record of a reproduction with these cells in it; clips that are missing are drawn.

    The caller holds the folder, so nobody else trains them.

    Args:
        root: of the reproduction.
        cells: to train, in order.
        clips: to learn from.
        resolve: makes the paths of a config absolute.
        retry_failed: whether cells that could not be trained are to be tried again.
        ended: what became of cells elsewhere, by identity; those are not trained here.

    Raises:
        MotionRayError: settings that do not fit, a folder of another run, a damaged record.
    """
    hashes, trials = ContentHashes(), dict[Cell, Trial]()
    elsewhere: dict[Cell, Trained | Failed] = {}
    for cell in cells:
        config = resolve(config_of(cell, clips))
        identity = hashes.trial(config)
        known = (ended or {}).get(identity)
        if known is not None and (known.deltas or not retry_failed):
            elsewhere[cell] = _from_elsewhere(cell, identity, config, known, root / STORE)
            continue
        settings = {"method": cell.method, "motion": cell.motion, "seed": cell.seed}
        trials[cell] = Trial(identity, cell.name, settings, config)
    record = Record(root, Ledger(root / "ledger"), tuple(cells), trials, elsewhere)
    for trial in trials.values():
        run = record.run(trial)
        run.adopt(trial.config)
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


def _has_result(status: TrialStatus) -> bool:
    return status.state is TrialState.FINISHED or _is_result(status)


def _is_result(status: TrialStatus) -> bool:
    names = {each.__name__ for each in RESULTS}
    return status.state is TrialState.FAILED and status.error in names


def _from_elsewhere(
    cell: Cell, identity: str, config: CustomizationConfig, known: Ended, store: Path
) -> Trained | Failed:
    if not known.deltas:
        return Failed(cell, known.reason, identity)
    # What was published from this very folder is known elsewhere too.
    here = _holds(DeltaStore(store), known.deltas.values())
    return Trained(cell, identity, config, known.deltas, known.reason, known.seconds, here=here)


def _holds(store: DeltaStore, deltas: Iterable[Learned]) -> bool:
    try:
        return all(store.resolve(each.reference).sha256 == each.sha256 for each in deltas)
    except UnknownMotionError:
        return False


def _learned(store: DeltaStore, name: str) -> Learned:
    found = store.resolve(name)
    return Learned(found.reference, found.sha256, found.token, found.recipe, found.step)


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
