"""How well the slots of a sweep are used: when each became free, was taken, began and ended work.

A slot works from the moment a trial has its data and its model until its result is written. The
rest is idle: starting processes, importing, reading a base, waiting for a next trial or for the
last one of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """How a trial came to its first step.

    Attributes:
        waited: seconds from the slot's being free to its being given the trial.
        prepared: seconds from there to the end of the first step.
        first: the first trial of its process, which had to import and read everything.
    """

    waited: float
    prepared: float
    first: bool


class SlotTimes:
    """The clock of a sweep.

    Args:
        slots: how many there are meant to be; one that has not come up yet is idle.
        clock: seconds, monotonic.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._clock = slots, clock
        self._begun = clock()
        self._worked = 0.0
        self._free: dict[str, float] = {}
        self._fresh: dict[str, bool] = {}
        self._taken: dict[str, float] = {}
        self._working: dict[str, float] = {}
        self._stepped: set[str] = set()
        self.starts: list[Start] = []

    def up(self, slot: str) -> None:
        """A new process serves this slot."""
        self.free(slot)
        self._fresh[slot] = True

    def take(self, slot: str) -> None:
        """The slot was given a trial."""
        self._taken[slot] = self._clock()
        self._stepped.discard(slot)

    def work(self, slot: str) -> None:
        """Data and model are there; what comes now is training and sampling."""
        self._working.setdefault(slot, self._clock())

    def step(self, slot: str) -> None:
        """A step is done; only the first of each trial counts."""
        if slot in self._taken and slot not in self._stepped:
            self._stepped.add(slot)
            taken = self._taken[slot]
            waited = taken - self._free.get(slot, taken)
            first = self._fresh.get(slot, True)
            self.starts.append(Start(waited, self._clock() - taken, first))

    def free(self, slot: str) -> None:
        """The slot's trial is over or lost."""
        since = self._working.pop(slot, None)
        if since is not None:
            self._worked += self._clock() - since
        self._taken.pop(slot, None)
        self._free[slot] = self._clock()
        self._fresh[slot] = False

    def idle_share(self) -> float:
        """Part of all slot time so far that was not work, 0 to 1."""
        now = self._clock()
        worked = self._worked + sum(now - since for since in self._working.values())
        whole = self._slots * (now - self._begun)
        return 1.0 - worked / whole if whole > 0 else 0.0
