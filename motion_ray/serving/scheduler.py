"""Which job a replica runs next: one at a time, grouped by motion, without starvation.

A pure state machine: it knows no threads and no clock, every call is told the time. The rules, in
this order:

1. If somebody has waited for ``patience`` seconds or longer, the head of the line is next.
2. Otherwise the first in line who wants what is loaded already.
3. Otherwise the head of the line.

Round-robin over clients. Each client has one place in the line, where its oldest job stands; when
that job starts, its next one goes to the end. So a client with a thousand jobs delays one with a
single job by no more than one of its own.

What follows from the rules, for a job with k older ones of its client, at most n clients with
queued jobs, and jobs that run for at most S seconds: it starts within patience + S (1 + n (k + 1))
seconds of being submitted, whatever else arrives (tested).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from motion_ray.errors import OverloadedError

FIRST_GUESS = 10.0  # seconds a job takes, before one has been seen
SMOOTHING = 0.2  # weight of the newest job in the running mean; of the first ones more


@dataclass(frozen=True)
class Ticket:
    """A job as the scheduler sees it.

    Attributes:
        id: of the job.
        group: what has to be loaded for it; equal groups run together.
        client: whose job it is; "" for nobody in particular.
        deadline: when it must be finished, on the caller's clock; null: whenever.
    """

    id: str
    group: str
    client: str = ""
    deadline: float | None = None


class Stop(enum.StrEnum):
    """Why a job is not run to its end."""

    CANCELLED = "cancelled"
    DEADLINE = "deadline_exceeded"
    SHUTDOWN = "shutdown"  # of the replica; the job is to be run elsewhere


class Cancelling(enum.StrEnum):
    """What a cancellation met."""

    REMOVED = "removed"  # it was queued and will not start
    STOPPING = "stopping"  # it runs and is told to stop
    UNKNOWN = "unknown"  # neither queued nor running


@dataclass(frozen=True)
class Decision:
    """What to do now.

    Attributes:
        start: the job to run; null if there is none, or one runs.
        dropped: jobs whose deadline passed while they were queued.
    """

    start: Ticket | None
    dropped: tuple[Ticket, ...] = ()


@dataclass(frozen=True)
class _Queued:
    ticket: Ticket
    since: float


@dataclass
class _Running:
    ticket: Ticket
    since: float
    stop: Stop | None = None


class Scheduler:
    """See the top of this file. Not safe for threads: its owner holds a lock.

    Args:
        capacity: jobs that may be queued, beside the one that runs.
        patience: seconds after which grouping no longer counts; 0 is plain turn-taking.
    """

    def __init__(self, capacity: int, patience: float) -> None:
        self._capacity, self._patience = capacity, patience
        # In the order of the line: the client with the longest standing head comes first.
        self._line: dict[str, deque[_Queued]] = {}
        self._ids: set[str] = set()
        self._running: _Running | None = None
        self._loaded = ""
        self._mean, self._made = FIRST_GUESS, 0

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def running(self) -> Ticket | None:
        """The job that runs."""
        return self._running.ticket if self._running else None

    # --- arrivals ---------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now: float) -> None:
        """Queue a job.

        Raises:
            OverloadedError: the queue is full; ``retry_after`` is an estimate.
            ValueError: a job with this id is here already.
        """
        if ticket.id in self._ids or (self.running is not None and self.running.id == ticket.id):
            raise ValueError(f"job {ticket.id} is here already")
        if len(self._ids) >= self._capacity:
            rule = f"{len(self._ids)} jobs are queued, which is the limit"
            raise OverloadedError("the queue", rule, "ask again later", self._mean)
        self._ids.add(ticket.id)
        self._line.setdefault(ticket.client, deque()).append(_Queued(ticket, now))

    def cancel(self, job: str, why: Stop = Stop.CANCELLED) -> Cancelling:
        """Take a job out of the queue, or tell it to stop; the first reason stays."""
        if self._running is not None and self._running.ticket.id == job:
            self._running.stop = self._running.stop or why
            return Cancelling.STOPPING
        for queued in self._all():
            if queued.ticket.id == job:
                self._remove(queued)
                return Cancelling.REMOVED
        return Cancelling.UNKNOWN

    # --- running ----------------------------------------------------------------------------------

    def next(self, now: float) -> Decision:
        """The job to run now, which counts as running from here on."""
        late = tuple(each for each in self._all() if self._is_late(each.ticket, now))
        for queued in late:
            self._remove(queued)
        dropped = tuple(queued.ticket for queued in late)
        chosen = None if self._running is not None else self._choose(now)
        if chosen is None:
            return Decision(None, dropped)
        self._take(chosen)
        self._running = _Running(chosen.ticket, now)
        self._loaded = chosen.ticket.group
        return Decision(chosen.ticket, dropped)

    def must_stop(self, job: str, now: float) -> Stop | None:
        """Asked before every denoising step of the running job: why it has to stop, if it has."""
        if self._running is None or self._running.ticket.id != job:
            return Stop.CANCELLED
        if self._running.stop is None and self._is_late(self._running.ticket, now):
            self._running.stop = Stop.DEADLINE
        return self._running.stop

    def finish(self, job: str, now: float, *, made: bool = True) -> None:
        """The running job has ended, in whatever way.

        Args:
            job: which.
            now: on the caller's clock.
            made: there is a video: how long that took tells what the next one takes.

        Raises:
            ValueError: it is not the one that runs.
        """
        if self._running is None or self._running.ticket.id != job:
            raise ValueError(f"job {job} does not run")
        if made:
            seconds = now - self._running.since
            self._made += 1
            self._mean += max(SMOOTHING, 1 / self._made) * (seconds - self._mean)
        self._running = None

    # --- looking ahead ----------------------------------------------------------------------------

    def following(self, now: float) -> Ticket | None:
        """The job that would be next if the running one ended now: what to load ahead."""
        chosen = self._choose(now)
        return None if chosen is None else chosen.ticket

    @property
    def mean(self) -> float:
        """Running mean of the seconds that a video takes; a guess before there was one."""
        return self._mean

    def expected_wait(self) -> float:
        """Seconds until a job that comes now would start, from the mean of those before it."""
        return self._mean * (len(self._ids) + (self._running is not None))

    def queued(self) -> list[Ticket]:
        """Everything that waits, in the order of the line."""
        return [each.ticket for each in self._all()]

    # --- the rules --------------------------------------------------------------------------------

    def _choose(self, now: float) -> _Queued | None:
        if not self._line:
            return None
        head = next(iter(self._line.values()))[0]
        if any(now - each.since >= self._patience for each in self._all()):
            return head
        return next((each for each in self._all() if each.ticket.group == self._loaded), head)

    def _take(self, chosen: _Queued) -> None:
        """Out of the line it goes; if its client stood there with it, the client starts anew."""
        client = chosen.ticket.client
        was_head = self._line[client][0] is chosen
        self._remove(chosen)
        if was_head and client in self._line:
            self._line[client] = self._line.pop(client)

    def _remove(self, queued: _Queued) -> None:
        waiting = self._line[queued.ticket.client]
        waiting.remove(queued)
        self._ids.remove(queued.ticket.id)
        if not waiting:
            del self._line[queued.ticket.client]

    def _all(self) -> Iterator[_Queued]:
        return iter([each for waiting in self._line.values() for each in waiting])

    def _is_late(self, ticket: Ticket, now: float) -> bool:
        return ticket.deadline is not None and now >= ticket.deadline
