"""The best delta of each motion, in the store that is served from.

Every trial publishes into a store of its own. What is best of a motion goes into the common store
as ``motion@version``. A store gives the same content the version that it has, so registering again
after a resubmission changes nothing; a better delta becomes the next version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motion_ray.errors import MotionRayError
from motion_ray.store import DeltaStore
from motion_ray.sweeps.ranking import Standing, best
from motion_ray.sweeps.trial import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registered:
    """A motion in the store.

    Attributes:
        motion: its name.
        reference: ``motion@version``.
        trial: identity of the trial that it comes from.
        new: it was not there before.
    """

    motion: str
    reference: str
    trial: str
    new: bool


def register_best(
    standings: Mapping[str, Sequence[Standing]],
    store: str,
    run_folder: Callable[[Trial], Path | None],
) -> tuple[list[Registered], list[MotionRayError]]:
    """Publish the best delta of every motion that has one.

    Args:
        standings: of each motion, as :func:`motion_ray.sweeps.ranking.rank` gives them.
        store: path or URI.
        run_folder: where a trial ran; null: that cannot be looked at.

    Returns:
        What is in the store, and why other motions could not be put there: a store cannot be read
        or written, or has no such delta, or the delta is damaged. One motion does not keep the
        others out.
    """
    target = DeltaStore(store)
    registered: list[Registered] = []
    problems: list[MotionRayError] = []
    for motion, trials in standings.items():
        first = best(trials)
        if first is None or first.entry.status.result is None:
            continue
        trial, result = first.entry.trial, first.entry.status.result
        try:
            delta = DeltaStore(_store_now(result, run_folder(trial))).load(result["delta"])
            known = {f"{name}@{version}" for name, version in target.versions()}
            reference = target.publish(delta, motion)
        except MotionRayError as error:
            log.warning("%s: trial %s is not registered: %s", motion, trial.short, error)
            problems.append(error)
            continue
        registered.append(Registered(motion, reference, trial.identity, reference not in known))
    return registered, problems


def _store_now(result: Mapping[str, Any], folder: Path | None) -> str:
    """The store of a trial. One in its run folder is where that folder is now; the record knows
    only where both were when the trial finished.
    """
    then = Path(result["store"])
    if folder is not None and then.parent == Path(result["report"]).parent:
        now = folder / then.name
        return str(now) if now.is_dir() else result["store"]
    return result["store"]
