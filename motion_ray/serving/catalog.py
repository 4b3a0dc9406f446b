"""The motions of a store that can be served with one base model, as they are now.

A version, once seen, is remembered: it cannot change. Which versions there are is asked again: by
name at every request, over all names at most once in ``refresh_s`` seconds, and at once when a
prompt may use a token that nobody is known to own: a rare word, or any word where tokens stand. A
distant store takes its time: one thread lists it, and the others go on with the list from before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from motion_ray.errors import IncompatibleMotionError, StoreError, UnknownMotionError
from motion_ray.serving.negative import NegativeCache
from motion_ray.serving.prompt_motions import Place, TokenIndex, may_be_new, motions_in, place_in
from motion_ray.store import DeltaRecord, DeltaStore, check_name

log = logging.getLogger(__name__)

NEW_TOKEN_REFRESH_S = 0.1  # seconds between two looks at the whole store for unknown tokens


class MotionCatalog:
    """See the top of this file. Safe for threads.

    Args:
        store: where motions are published.
        fingerprint: of the base model that is served.
        refresh_s: seconds for which the list of all motions counts as fresh.
        unknown_s: seconds for which a name that does not exist is not looked up again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: DeltaStore,
        fingerprint: str,
        *,
        refresh_s: float = 1.0,
        unknown_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._fingerprint = store, fingerprint
        self._refresh_s, self._clock = refresh_s, clock
        self._unknown = NegativeCache(unknown_s, clock)
        self._listing = threading.Lock()  # one look at the whole store at a time; guards _damaged
        self._damaged: set[tuple[str, int]] = set()
        self._lock = threading.Lock()  # guards what follows; nothing is read while it is held
        self._changes = 0  # publications and withdrawals that this process was told of
        self._records: dict[tuple[str, int], DeltaRecord] = {}
        self._refreshed = float("-inf")

    @property
    def fingerprint(self) -> str:
        """Of the base model that is served."""
        return self._fingerprint

    def resolve(self, name: str, version: int | None = None) -> DeltaRecord:
        """A motion by name, in its newest version or in a given one.

        Raises:
            UnknownMotionError: no such name or version.
            IncompatibleMotionError: it was made for another base model.
            StoreError: a bad name, or the store cannot be read.
        """
        check_name(name)
        with self._lock:
            record = self._records.get((name, version)) if version is not None else None
        if record is None:
            reference = name if version is None else f"{name}@{version}"
            self._unknown.check(reference)
            try:
                record = self._store.resolve(reference)
            except UnknownMotionError as fault:
                self._unknown.add(reference, fault)
                raise
            with self._lock:
                self._records[name, record.version] = record
        if record.base_fingerprint != self._fingerprint:
            rule = f"{record.reference} was made for base {record.base_fingerprint[:8]}.."
            served = f"{self._fingerprint[:8]}.. is served"
            raise IncompatibleMotionError("motions", f"{rule}, {served}", "choose another motion")
        return record

    def published(self, name: str) -> None:
        """A motion has just been published: forget that it, or a version of it, was unknown."""
        self._unknown.forget_where(lambda known: known.partition("@")[0] == name)
        with self._lock:
            self._changes += 1
            self._refreshed = float("-inf")

    def withdrawn(self, name: str) -> None:
        """Versions of a motion have just been withdrawn: look again which there are."""
        with self._lock:
            for key in [key for key in self._records if key[0] == name]:
                del self._records[key]
            self._changes += 1
            self._refreshed = float("-inf")

    def motions(self) -> list[DeltaRecord]:
        """The newest version of every motion, of whatever base, sorted by name."""
        self._refresh(self._refresh_s)
        newest: dict[str, DeltaRecord] = {}
        with self._lock:
            for (name, _), record in sorted(self._records.items()):
                newest[name] = record
        return list(newest.values())

    def versions(self, name: str) -> list[DeltaRecord]:
        """Every version of one motion that is known, oldest first."""
        self._refresh(self._refresh_s)
        with self._lock:
            return [record for (each, _), record in sorted(self._records.items()) if each == name]

    def asked_for(self, prompt: str) -> Sequence[DeltaRecord]:
        """Motions that a prompt asks for by their tokens, in their newest versions.

        Raises:
            UnknownTokenError: a rare word that no motion owns.
            AmbiguousTokenError: a token that several motions own.
            StoreError: the store cannot be read.
        """
        index = self._index(self._refresh_s)
        if may_be_new(prompt, index):  # published a moment ago, by another process
            index = self._index(NEW_TOKEN_REFRESH_S)
        return [self.resolve(name) for name in motions_in(prompt, index)]

    def _index(self, fresh_s: float) -> TokenIndex:
        self._refresh(fresh_s)  # not left to motions(), which may be content with an older look
        owners: dict[str, list[str]] = defaultdict(list)
        others: set[str] = set()
        places: set[Place] = set()
        for record in self.motions():
            if (place := place_in(record.template)) is not None:
                places.add(place)
            if record.base_fingerprint == self._fingerprint:
                owners[record.token.casefold()].append(record.name)
            else:
                others.add(record.token.casefold())
        known = {token: tuple(names) for token, names in sorted(owners.items())}
        return TokenIndex(known, frozenset(others - known.keys()), frozenset(places))

    def _refresh(self, fresh_s: float) -> None:
        """Read what is new in the store, unless that happened less than ``fresh_s`` ago.

        While somebody reads, the others go on with the list that there is, unless they were told of
        a change, or look for what was published a moment ago.
        """
        with self._lock:
            if self._clock() - self._refreshed < fresh_s:
                return
            must_wait = fresh_s < self._refresh_s or self._refreshed == float("-inf")
        if not self._listing.acquire(blocking=must_wait):
            return
        try:
            while not self._read_all(fresh_s):
                log.debug("the store of motions changed while it was listed")
        finally:
            self._listing.release()

    def _read_all(self, fresh_s: float) -> bool:
        """List the store; false if a change was told meanwhile, which the list may lack."""
        with self._lock:
            started, changes = self._clock(), self._changes
            if started - self._refreshed < fresh_s:
                return True  # who held us up has just read it
            known = set(self._records)
        there = self._store.versions()
        new = {key: record for key in there if key not in known if (record := self._read(*key))}
        with self._lock:
            if changes != self._changes:
                return False
            for gone in known - set(there):
                self._records.pop(gone, None)
            self._records.update(new)
            self._refreshed = started
        return True

    def _read(self, name: str, version: int) -> DeltaRecord | None:
        """One version; one that is damaged is told once and tried again every time."""
        try:
            record = self._store.resolve(f"{name}@{version}")
        except StoreError as damage:
            if (name, version) not in self._damaged:
                log.warning("left out: %s", damage)
            self._damaged.add((name, version))
            return None
        self._damaged.discard((name, version))
        return record
