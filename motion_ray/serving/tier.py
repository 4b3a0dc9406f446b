"""One tier of the pool: things of known size within a budget of bytes, and who has to leave.

Who leaves. Everything resident has a priority ``clock + uses x seconds / bytes``: what it would
cost to load it again, times how often it was wanted, per byte that its going would free. Whoever
has the lowest priority leaves, and the clock is set to that priority. What is used gets a new
priority from the present clock, so that old merit counts less the more has left since. The idea is
the GreedyDual family of web caches (Cao and Irani 1997, extended by frequency by Cherkasova 1998);
with equal costs and sizes and one use each it is the order of last use.

What somebody holds never leaves, nor what is pinned. A tier is a plain data structure: its owner
sees to locking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from motion_ray.errors import PoolBusyError, PoolError

V = TypeVar("V")

OVERHEAD = 4096  # bytes counted for an entry beside its own: even empty ones cannot pile up
MOST_USES = 256  # counted, so that a favourite of yesterday leaves after a bounded time
LEAST_SECONDS = 1e-6  # of a load: what takes no measurable time still ranks by size and use


@dataclass(frozen=True)
class TierStatistics:
    """Counts since the start, and the present state.

    Attributes:
        budget: bytes that may be used.
        used: bytes in use, reservations for running loads included.
        held: bytes that somebody holds or has pinned.
        entries: things in it.
        hits: found when asked for.
        misses: not found when asked for.
        loads: came in.
        evictions: left to make room.
        seconds: spent on loads.
    """

    budget: int
    used: int
    held: int
    entries: int
    hits: int
    misses: int
    loads: int
    evictions: int
    seconds: float


@dataclass
class _Entry(Generic[V]):
    nbytes: int
    value: V | None = None  # null while it is loaded
    seconds: float = LEAST_SECONDS
    uses: int = 0
    priority: float = 0.0
    holds: int = 0
    pinned: bool = False

    @property
    def evictable(self) -> bool:
        return self.value is not None and not self.holds and not self.pinned


@dataclass
class Tier(Generic[V]):
    """See the top of this file.

    Attributes:
        name: for messages.
        budget: bytes.
    """

    name: str
    budget: int
    _entries: dict[str, _Entry[V]] = field(default_factory=dict, init=False, repr=False)
    _clock: float = field(default=0.0, init=False, repr=False)
    _used: int = field(default=0, init=False, repr=False)
    _hits: int = field(default=0, init=False, repr=False)
    _misses: int = field(default=0, init=False, repr=False)
    _loads: int = field(default=0, init=False, repr=False)
    _evictions: int = field(default=0, init=False, repr=False)
    _seconds: float = field(default=0.0, init=False, repr=False)

    # --- asking -----------------------------------------------------------------------------------

    def __contains__(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.value is not None

    def __iter__(self) -> Iterator[str]:
        """Keys of everything that is loaded."""
        return iter([key for key, entry in self._entries.items() if entry.value is not None])

    def pinned(self) -> list[str]:
        """Keys of everything that is pinned."""
        return [key for key, entry in self._entries.items() if entry.pinned]

    def peek(self, key: str) -> V | None:
        """What is there, without holding or counting it."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def is_held(self, key: str) -> bool:
        """Whether somebody holds it, or loads it at this moment."""
        entry = self._entries.get(key)
        return entry is not None and (entry.holds > 0 or entry.value is None)

    def fit_together(self, sizes: Mapping[str, int]) -> bool:
        """Whether things of these sizes could all be here at once, beside what is pinned."""
        pinned = sum(e.nbytes for key, e in self._entries.items() if e.pinned and key not in sizes)
        return sum(sizes.values()) + OVERHEAD * len(sizes) + pinned <= self.budget

    def statistics(self) -> TierStatistics:
        """The present counts."""
        held = sum(entry.nbytes for entry in self._entries.values() if not entry.evictable)
        return TierStatistics(
            self.budget,
            self._used,
            held,
            len(self._entries),
            self._hits,
            self._misses,
            self._loads,
            self._evictions,
            self._seconds,
        )

    # --- holding ----------------------------------------------------------------------------------

    def hold(self, key: str, *, count: bool = True) -> V | None:
        """What is there, held until :meth:`release`; null if it is not.

        Args:
            key: of the thing.
            count: as a hit or a miss; false for who asks a second time.
        """
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            self._misses += count
            return None
        self._hits += count
        entry.holds += 1
        self._touch(entry)
        return entry.value

    def release(self, key: str) -> None:
        """Give back one hold.

        Raises:
            ValueError: nobody holds it.
        """
        entry = self._entries.get(key)
        if entry is None or entry.holds < 1:
            raise ValueError(f"nobody holds {key} in {self.name}")
        entry.holds -= 1

    def pin(self, key: str, pinned: bool = True) -> None:
        """Let a loaded thing stay whatever happens, or no longer.

        Raises:
            KeyError: it is not there.
        """
        self._entries[key].pinned = pinned

    # --- coming and going -------------------------------------------------------------------------

    def reserve(self, key: str, nbytes: int) -> list[tuple[str, V]]:
        """Set bytes aside for a thing that is about to be loaded; :meth:`fill` follows.

        Returns:
            What had to leave. The caller frees it before using the room.

        Raises:
            PoolError: it does not fit into the budget, or into what the pins leave of it.
            PoolBusyError: it would fit, had others not held what is here.
            ValueError: it is here or on its way already.
        """
        if key in self._entries:
            raise ValueError(f"{key} is in {self.name} already")
        needed = nbytes + OVERHEAD
        self._check_room(key, needed)
        gone: list[tuple[str, V]] = []
        while self._used + needed > self.budget:
            gone.append(self._evict())
        self._entries[key] = _Entry(needed)
        self._used += needed
        return gone

    def fill(self, key: str, value: V, seconds: float) -> None:
        """What was reserved has been loaded; the caller holds it.

        Args:
            key: as reserved.
            value: the thing.
            seconds: the load took, and would take again.
        """
        entry = self._entries[key]
        entry.value, entry.holds = value, 1
        entry.seconds = max(seconds, LEAST_SECONDS)
        self._loads += 1
        self._seconds += seconds
        self._touch(entry)

    def cancel(self, key: str) -> None:
        """What was reserved does not come."""
        self._used -= self._entries.pop(key).nbytes

    def drop(self, key: str) -> V | None:
        """Take something out that nobody holds, pinned or not; null if there is nothing to take."""
        entry = self._entries.get(key)
        if entry is None or entry.value is None or entry.holds:
            return None
        self._used -= entry.nbytes
        return self._entries.pop(key).value

    def _check_room(self, key: str, needed: int) -> None:
        entries = self._entries.values()
        pinned = sum(entry.nbytes for entry in entries if entry.pinned)
        where = f"{self.name} tier"
        if needed > self.budget - pinned:
            rule = f"{key} needs {needed:,} bytes, the budget is {self.budget:,}"
            rest = f", of which pins take {pinned:,}" if pinned else ""
            raise PoolError(where, rule + rest, "raise the budget, or unpin motions")
        leaving = sum(entry.nbytes for entry in entries if entry.evictable)
        if needed > self.budget - self._used + leaving:
            held = f"{self._used - leaving:,} of {self.budget:,} are held"
            rule = f"{key} needs {needed:,} bytes, {held}"
            raise PoolBusyError(where, rule, "wait, or raise the budget")

    def _evict(self) -> tuple[str, V]:
        candidates = [(e.priority, key) for key, e in self._entries.items() if e.evictable]
        self._clock, key = min(candidates)
        entry = self._entries.pop(key)
        self._used -= entry.nbytes
        self._evictions += 1
        assert entry.value is not None
        return key, entry.value

    def _touch(self, entry: _Entry[V]) -> None:
        entry.uses = min(entry.uses + 1, MOST_USES)
        entry.priority = self._clock + entry.uses * entry.seconds / entry.nbytes
