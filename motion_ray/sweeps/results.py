"""What is left of a sweep in the morning: the best delta of each motion, and the page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from motion_ray.customization.run import RunFolder
from motion_ray.errors import MotionRayError
from motion_ray.sweeps.curves import read_curve
from motion_ray.sweeps.leaderboard import write_leaderboard
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.ranking import Entry, rank
from motion_ray.sweeps.registration import Registered, register_best
from motion_ray.sweeps.trial import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResults:
    """Where to look.

    Attributes:
        page: the leaderboard.
        registered: the best delta of each motion that has one.
        problems: why trials are missing there, or are on the page without their course.
    """

    page: Path
    registered: tuple[Registered, ...]
    problems: tuple[MotionRayError, ...] = ()


def read_entries(ledger: Ledger, folders: Mapping[str, Path | None]) -> list[Entry]:
    """Every trial with its status and its course, as far as they are known now.

    Args:
        ledger: the record.
        folders: identity to where a trial runs; null: that cannot be looked at.

    Raises:
        LedgerError: the record cannot be read.
    """
    trials, entries = ledger.trials(), []
    for identity, status in ledger.statuses().items():
        trial, folder = trials[identity], folders.get(identity)
        metrics = [] if folder is None else RunFolder(folder).read_metrics()
        entries.append(Entry(trial, status, read_curve(identity, trial.config, metrics)))
    return entries


def publish_results(
    ledger: Ledger, run_folder: Callable[[Trial], Path], out: Path, store: str, title: str
) -> SweepResults:
    """Register the best deltas and write the page. Called again it changes only what is new.

    Args:
        ledger: the record.
        run_folder: where a trial ran. If it raises a :class:`~motion_ray.errors.MotionRayError`,
            the others are published all the same.
        out: folder of the page.
        store: path or URI for the best deltas.
        title: of the page.

    Raises:
        LedgerError: the record cannot be read.
        StoreError: nothing is installed for the address of the store.
    """
    folders, unread = _look_up(ledger, run_folder)
    standings = rank(read_entries(ledger, folders))
    registered, kept_out = register_best(standings, store, lambda trial: folders[trial.identity])
    page = write_leaderboard(
        out, title, standings, registered, lambda trial: folders[trial.identity]
    )
    return SweepResults(page, tuple(registered), (*unread, *kept_out))


def _look_up(
    ledger: Ledger, run_folder: Callable[[Trial], Path]
) -> tuple[dict[str, Path | None], list[MotionRayError]]:
    """Where every trial ran, null where that cannot be looked at; and why not."""
    folders: dict[str, Path | None] = {}
    problems: list[MotionRayError] = []
    for identity, trial in ledger.trials().items():
        try:
            folders[identity] = run_folder(trial)
        except MotionRayError as error:
            log.warning("%s: trial %s cannot be looked at: %s", trial.motion, trial.short, error)
            problems.append(error)
            folders[identity] = None
    return folders, problems
