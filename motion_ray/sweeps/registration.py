"""The best delta of each motion, in the store that is served from.

Every trial publishes into a store of its own. What is best of a motion goes into the common store
as ``motion@version``. A store gives the same content the version that it has, so registering again
after a resubmission changes nothing; a better delta becomes the next version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from motion_ray.store import DeltaStore
from motion_ray.sweeps.ranking import Standing, best


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


def register_best(standings: Mapping[str, Sequence[Standing]], store: str) -> list[Registered]:
    """Publish the best delta of every motion that has one.

    Args:
        standings: of each motion, as :func:`motion_ray.sweeps.ranking.rank` gives them.
        store: path or URI.

    Raises:
        StoreError: a store cannot be read or written, or the trial's has no such delta.
        DeltaError: the delta of the trial is damaged.
    """
    target = DeltaStore(store)
    registered = []
    for motion, trials in standings.items():
        first = best(trials)
        if first is None or first.entry.status.result is None:
            continue
        result = first.entry.status.result
        delta = DeltaStore(result["store"]).load(result["delta"])
        known = {f"{name}@{version}" for name, version in target.versions()}
        reference = target.publish(delta, motion)
        identity = first.entry.trial.identity
        registered.append(Registered(motion, reference, identity, reference not in known))
    return registered
