"""What is left of a sweep in the morning: the best delta of each motion, and the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motion_ray.customization.run import RunFolder
from motion_ray.sweeps.curves import read_curve
from motion_ray.sweeps.leaderboard import write_leaderboard
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.ranking import Entry, rank
from motion_ray.sweeps.registration import Registered, register_best
from motion_ray.sweeps.trial import Trial


@dataclass(frozen=True)
class SweepResults:
    """Where to look.

    Attributes:
        page: the leaderboard.
        registered: the best delta of each motion that has one.
    """

    page: Path
    registered: tuple[Registered, ...]


def read_entries(ledger: Ledger, run_folder: Callable[[Trial], Path]) -> list[Entry]:
    """Every trial with its status and its course, as far as they are known now.

    Args:
        ledger: the record.
        run_folder: where a trial runs.

    Raises:
        LedgerError: the record cannot be read.
    """
    trials = ledger.trials()
    return [
        Entry(
            trials[identity],
            status,
            read_curve(
                identity,
                trials[identity].config,
                RunFolder(run_folder(trials[identity])).read_metrics(),
            ),
        )
        for identity, status in ledger.statuses().items()
    ]


def publish_results(
    ledger: Ledger, run_folder: Callable[[Trial], Path], out: Path, store: str, title: str
) -> SweepResults:
    """Register the best deltas and write the page. Called again it changes only what is new.

    Args:
        ledger: the record.
        run_folder: where a trial ran.
        out: folder of the page.
        store: path or URI for the best deltas.
        title: of the page.

    Raises:
        MotionRayError: the record, a delta or a store cannot be used.
    """
    standings = rank(read_entries(ledger, run_folder))
    registered = register_best(standings, store)
    page = write_leaderboard(out, title, standings, registered, run_folder)
    return SweepResults(page, tuple(registered))
