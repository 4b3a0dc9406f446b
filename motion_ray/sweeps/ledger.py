"""The record of a sweep: which trials there are and what happened to each.

Nothing is ever changed or removed. ``trials/000001.json`` ... hold trials in the order in which
they were asked for; ``events/<identity>.000001.json`` ... the history of each. A file is created
whole and only if its name is free. So whoever writes event n+1 has decided on the n events before
it: of two processes that want to start a trial one wins, and the other sees that it is running. A
killed writer leaves either an event or none.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from motion_ray.errors import LedgerError, MotionRayError
from motion_ray.manifest import canonical_json
from motion_ray.sweeps.place import Place, open_place
from motion_ray.sweeps.status import Event, EventKind, TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished

DAMAGED = "restore the file, or start the sweep in a new folder"
NEXT = 0  # instead of the number of an attempt: the one after the last


class Ledger:
    """Reads and extends the record of a sweep. Any number of processes may have one open.

    Args:
        uri: folder of the record; a local path or an fsspec URI.
        clock: seconds since 1970.
    """

    def __init__(self, uri: str | Path, clock: Callable[[], float] = time.time) -> None:
        self.uri = str(uri)
        self._place: Place = open_place(uri)
        self._clock = clock
        self._trials: dict[str, Trial] = {}
        self._lists = 0
        self._events: defaultdict[str, list[Event]] = defaultdict(list)
        self._status: dict[str, TrialStatus] = {}

    # --- trials -----------------------------------------------------------------------------------

    def add(self, trials: Iterable[Trial]) -> int:
        """Have these trials in the record; returns how many of them are new.

        A trial that is there keeps its place and its history.

        Raises:
            LedgerError: the record cannot be read or written.
        """
        wanted = {trial.identity: trial for trial in trials}
        while True:
            known = self.trials()
            new = [trial for identity, trial in wanted.items() if identity not in known]
            if not new:
                return 0
            content = canonical_json([trial.as_dict() for trial in new]).encode()
            if self._place.create(f"trials/{self._lists + 1:06d}.json", content):
                self.trials()
                return len(new)
            # Another submission took this number in this moment, perhaps for the same trials.

    def trials(self) -> Mapping[str, Trial]:
        """All trials by identity, in the order in which they were added."""
        while (data := self._place.read(f"trials/{self._lists + 1:06d}.json")) is not None:
            where = f"{self.uri}/trials/{self._lists + 1:06d}.json"
            try:
                found = [Trial.from_dict(values) for values in json.loads(data)]
            except (ValueError, KeyError, TypeError, MotionRayError) as fault:
                raise LedgerError(where, f"is damaged: {fault}", DAMAGED) from fault
            self._lists += 1
            for trial in found:
                self._trials.setdefault(trial.identity, trial)
        return self._trials

    # --- reading ----------------------------------------------------------------------------------

    def status(self, identity: str) -> TrialStatus:
        """Where a trial stands now.

        Raises:
            LedgerError: there is no such trial, or its history is damaged.
        """
        if identity not in self._trials and identity not in self.trials():
            raise LedgerError(self.uri, f"has no trial {identity[:12]}", "add it first")
        while self._read_event(identity):
            pass
        return self._status.get(identity, TrialStatus())

    def statuses(self) -> dict[str, TrialStatus]:
        """Where every trial stands, in the order of :meth:`trials`. Reads only what is new."""
        counts: dict[str, int] = defaultdict(int)
        for name in self._place.names("events"):
            counts[name.partition(".")[0]] += 1
        for identity in self.trials():
            while len(self._events[identity]) < counts[identity] and self._read_event(identity):
                pass
        return {each: self._status.get(each, TrialStatus()) for each in self._trials}

    def history(self, identity: str) -> tuple[Event, ...]:
        """Everything that happened to a trial, oldest first."""
        self.status(identity)
        return tuple(self._events[identity])

    # --- what happens to a trial ------------------------------------------------------------------

    def start(self, identity: str, where: str = "") -> int | None:
        """Begin an attempt; the caller alone may run the trial now.

        Args:
            identity: of the trial.
            where: machine, and process or GPU.

        Returns:
            The number of the attempt; null if the trial is running elsewhere or is over.
        """
        return self._append(_draft(identity, "started", NEXT, where=where))

    def finish(self, identity: str, attempt: int, result: RunFinished, seconds: float) -> bool:
        """Record a result; False if the trial has one already."""
        draft = _draft(identity, "finished", attempt, seconds=seconds, step=result.step)
        draft = draft.model_copy(update={"result": asdict(result)})
        return self._append(draft) is not None

    def stop(self, identity: str, attempt: int, reason: str, step: int, seconds: float) -> bool:
        """Record that the policy ended an attempt; False if it is not the one that runs."""
        draft = _draft(
            identity, "stopped_by_policy", attempt, reason=reason, step=step, seconds=seconds
        )
        return self._append(draft) is not None

    def fail(
        self,
        identity: str,
        attempt: int,
        reason: str,
        seconds: float | None = None,
        error: str = "",
    ) -> bool:
        """Record a failure that would come again the same way; False if it does not run.

        Args:
            identity: of the trial.
            attempt: that failed.
            reason: in words.
            seconds: how long the attempt lasted, if that is known.
            error: class of what was raised; whoever reads the record may know more about it.
        """
        draft = _draft(identity, "failed", attempt, reason=reason, seconds=seconds)
        return self._append(draft.model_copy(update={"error": error})) is not None

    def interrupt(
        self,
        identity: str,
        attempt: int,
        reason: str,
        *,
        retries: int | None,
        seconds: float | None = None,
        step: int | None = None,
    ) -> TrialState:
        """Record a lost attempt: the trial waits again, or has failed when its retries are used up.

        Args:
            identity: of the trial.
            attempt: that was lost.
            reason: in words, e.g. ``"node 3 was lost"``.
            retries: new attempts that a trial gets; null if this loss is not to be counted.
            seconds: how long the attempt lasted, if that is known.
            step: last step that is known.

        Returns:
            Where the trial stands then.
        """
        status = self.status(identity)
        if retries is not None and status.lost >= retries:
            tries = status.lost + 1
            self.fail(identity, attempt, f"given up after {tries} lost attempts: {reason}", seconds)
        else:
            draft = _draft(
                identity, "interrupted", attempt, reason=reason, seconds=seconds, step=step
            )
            self._append(draft.model_copy(update={"spared": retries is None}))
        return self.status(identity).state

    def release(self, reason: str) -> list[str]:
        """Let every running trial wait again, without counting it against them.

        For a submission that takes over from one that was killed, once it is certain that nothing
        of that one is alive (:func:`motion_ray.locks.only_process`).

        Returns:
            Identities of the trials released.
        """
        found = [
            key for key, status in self.statuses().items() if status.state is TrialState.RUNNING
        ]
        for identity in found:
            attempt = self.status(identity).attempts
            self.interrupt(identity, attempt, reason, retries=None)
        return found

    def reopen(self, identity: str, reason: str) -> bool:
        """Let a failed or stopped trial wait again with all retries; False if it is neither."""
        attempt = self.status(identity).attempts
        return self._append(_draft(identity, "reopened", attempt, reason=reason)) is not None

    # --- files ------------------------------------------------------------------------------------

    def _read_event(self, identity: str) -> bool:
        """Take in the next event of a trial, if there is one."""
        events = self._events[identity]
        path = _event_path(identity, len(events) + 1)
        data = self._place.read(path)
        if data is None:
            return False
        try:
            event = Event.model_validate_json(data)
            if event.trial != identity:
                raise ValueError("it belongs to another trial")
            self._take_in(event)
        except (ValidationError, ValueError) as fault:
            raise LedgerError(f"{self.uri}/{path}", f"is damaged: {fault}", DAMAGED) from fault
        return True

    def _take_in(self, event: Event) -> None:
        """A trial's history with its next event."""
        self._status[event.trial] = self._status.get(event.trial, TrialStatus()).after(event)
        self._events[event.trial].append(event)

    def _append(self, draft: Event) -> int | None:
        """Write the next event; returns its attempt, or null if it may not follow any more."""
        identity = draft.trial
        while True:
            status = self.status(identity)
            attempt = status.attempts + 1 if draft.attempt == NEXT else draft.attempt
            if not status.allows(draft.kind, attempt):
                return None
            place = {"number": status.events + 1, "attempt": attempt, "at": self._clock()}
            event = draft.model_copy(update=place)
            data = canonical_json(event.model_dump(mode="json", exclude_defaults=True)).encode()
            if self._place.create(_event_path(identity, event.number), data):
                self._take_in(event)  # not read again: it is written, whatever fails now
                return attempt
            # Somebody else wrote this event first: look at it and decide again.


def _draft(
    identity: str,
    kind: EventKind,
    attempt: int,
    *,
    where: str = "",
    reason: str = "",
    step: int | None = None,
    seconds: float | None = None,
) -> Event:
    """An event without its time and its place in the history."""
    return Event(
        trial=identity,
        number=1,
        kind=kind,
        at=0.0,
        attempt=attempt,
        where=where,
        reason=reason,
        step=step,
        seconds=seconds,
    )


def _event_path(identity: str, number: int) -> str:
    return f"events/{identity}.{number:06d}.json"
