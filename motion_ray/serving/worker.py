"""The thread that runs a scheduler's jobs, one at a time.

What is left of a job when the device is done with it, its ending, goes on in another thread beside
the next job: a device does not wait for an encoder and a disk. One at a time too, so that videos
that are made faster than they are written do not pile up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from motion_ray.serving.logs import about
from motion_ray.serving.scheduler import Cancelling, Scheduler, Stop, Ticket

log = logging.getLogger(__name__)

STOP_S = 30.0  # seconds that closing waits for a job that was told to stop: steps are shorter


class StopCheck(Protocol):
    """Asked before every denoising step, and now and then before the first."""

    def __call__(self, *, loading: bool = False) -> Stop | None:
        """Why the job has to stop, if it has.

        Args:
            loading: what it needs itself is still being loaded; nothing is loaded ahead then.
        """
        ...


Ending = Callable[[], None]
"""The rest of a job, which needs no device."""


class Duties(Protocol):
    """What a worker calls; all but :meth:`coming` in the worker's own thread."""

    def run(self, ticket: Ticket, stop: StopCheck) -> Ending | None:
        """Do the job; a reason to stop is to be heeded within one denoising step.

        Returns:
            What is left to do, in another thread; null: nothing.
        """
        ...

    def drop(self, ticket: Ticket) -> None:
        """The job's deadline passed while it was queued."""
        ...

    def coming(self, ticket: Ticket, *, next_up: bool) -> None:
        """The job is queued, or will be the next one: time to load ahead."""
        ...


class Worker:
    """Runs what its scheduler decides, in a thread of its own.

    Args:
        scheduler: used by this worker alone from here on.
        duties: what to do.
        ended: called when the device is free again, and when a job has ended and is no longer
            counted here, each time in the thread in which that happens.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        duties: Duties,
        *,
        ended: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler, self._duties, self._clock = scheduler, duties, clock
        self._ended = ended
        self._changed = threading.Condition()  # its lock guards the scheduler
        self._closing = False
        self._ending: Ticket | None = None
        self._ender: threading.Thread | None = None  # of the worker's thread alone
        self._thread = threading.Thread(target=self._work, name="generation", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Queue a job.

        Raises:
            OverloadedError: the queue is full.
            ValueError: the job is here already.
            RuntimeError: the worker is closed.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("this worker is closed")
            self._scheduler.submit(ticket, self._clock())
            self._changed.notify_all()
        self._duties.coming(ticket, next_up=False)

    def cancel(self, job: str) -> Cancelling:
        """Take a job out of the queue, or have it stop within one denoising step; one of which only
        the ending is left is not known any more.
        """
        with self._changed:
            return self._scheduler.cancel(job)

    def load(self) -> tuple[int, float]:
        """Jobs that wait, and the seconds until one that comes now would start."""
        with self._changed:
            return len(self._scheduler), self._scheduler.expected_wait()

    @property
    def job_s(self) -> float:
        """See :attr:`motion_ray.serving.scheduler.Scheduler.mean`."""
        with self._changed:
            return self._scheduler.mean

    def jobs(self) -> frozenset[str]:
        """Everything that waits, runs or ends here."""
        with self._changed:
            here = (*self._scheduler.queued(), self._scheduler.running, self._ending)
        return frozenset(ticket.id for ticket in here if ticket is not None)

    @property
    def dead(self) -> bool:
        """Whether the thread has ended though nobody closed the worker: nothing is run any more."""
        return not self._closing and not self._thread.is_alive()

    def close(self, seconds: float, stop_s: float = STOP_S) -> list[Ticket]:
        """Start nothing more, let end what runs and write what was made.

        Args:
            seconds: after which what runs is told to stop; it does so within one denoising step.
            stop_s: seconds to wait for that and for what is being written. A job that hangs, such
                as on a dead disk, is left to the end of the process; its claim runs out.

        Returns:
            What was queued and did not start.
        """
        with self._changed:
            self._closing = True
            left = self._scheduler.queued()
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            running = self._scheduler.running
            if running is not None:
                self._scheduler.cancel(running.id, Stop.SHUTDOWN)
        self._thread.join(stop_s)
        if self._thread.is_alive():
            log.error("a job did not stop within %g seconds, and is left behind", stop_s)
        return left

    def _work(self) -> None:
        try:
            self._loop()
        except Exception:  # a thread's exception would be lost; `dead` tells of it as well
            log.exception("the thread that runs jobs has ended")
        self._until_written()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                decision = self._scheduler.next(self._clock())
                if decision.start is None and not decision.dropped:
                    self._changed.wait()  # nothing is queued, or it would have started
                    continue
            for ticket in decision.dropped:
                self._guarded("drop", ticket, lambda ticket=ticket: self._duties.drop(ticket))
            if decision.start is not None:
                self._run(decision.start)

    def _prepare(self, ticket: Ticket) -> None:
        self._guarded("load ahead for", ticket, lambda: self._duties.coming(ticket, next_up=True))

    def _run(self, ticket: Ticket) -> None:
        prepared = ""  # the job that was last found to be the next one

        def stop(*, loading: bool = False) -> Stop | None:
            nonlocal prepared
            with self._changed:
                now = self._clock()
                following = None if loading else self._scheduler.following(now)
                why = self._scheduler.must_stop(ticket.id, now)
            if following is not None and following.id != prepared:
                prepared = following.id
                self._prepare(following)
            return why

        ending: Ending | None = None

        def run() -> None:
            nonlocal ending
            ending = self._duties.run(ticket, stop)

        self._guarded("run", ticket, run)
        if ending is not None:
            self._until_written()
        with self._changed:  # at once: at every moment the job counts as here
            if ending is not None:
                self._ending = ticket
            self._scheduler.finish(ticket.id, self._clock(), made=ending is not None)
        self._tell(ticket)
        if ending is not None:
            self._end_beside(ticket, ending)

    def _end_beside(self, ticket: Ticket, ending: Ending) -> None:
        self._ender = threading.Thread(
            target=self._end, args=(ticket, ending), name="ending", daemon=True
        )
        try:
            self._ender.start()
        except RuntimeError:  # the machine has no more threads: then without one
            self._ender = None
            self._end(ticket, ending)

    def _until_written(self) -> None:
        """Wait for the ending that goes on."""
        if self._ender is not None:
            self._ender.join()

    def _end(self, ticket: Ticket, ending: Ending) -> None:
        self._guarded("end", ticket, ending)
        with self._changed:
            self._ending = None
        self._tell(ticket)

    def _tell(self, ticket: Ticket) -> None:
        if self._ended is not None:
            self._guarded("tell of the end of", ticket, self._ended)

    def _guarded(self, what: str, ticket: Ticket, act: Callable[[], None]) -> None:
        with about(job=ticket.id):
            try:
                act()
            except Exception:  # the next job must not suffer from it
                log.exception("could not %s job %s", what, ticket.id)
