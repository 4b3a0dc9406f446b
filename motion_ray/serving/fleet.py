"""Which replica runs what: by what it has loaded, by how long its line is, and fairly.

A pure state machine: it knows no threads and no clock. A job waits here until a replica has room;
then it goes where it is expected to start soonest: the replica's present wait, and what loading its
motions there, or summing a mix of them, would take. So jobs of a motion gather where it is loaded,
and spread as soon as the line there costs more than loading it elsewhere. Of the jobs that wait,
those of clients with few jobs in the replicas go first, and within a client the older ones: the
first job of everybody before the second of anybody.

Nothing here has to survive. What waits is in the job store, and what runs where is in the reports
of the replicas; a job that two replicas were given is started by one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from motion_ray.errors import RequestError
from motion_ray.serving.jobs import Job
from motion_ray.serving.mix import Mix
from motion_ray.serving.orders import LetGo, Order, Orders, Outcome, Report, Run
from motion_ray.serving.pool import DEVICE
from motion_ray.serving.requests import GenerationSpec
from motion_ray.store import DeltaRecord

FIRST_LOAD_S = 1.0  # seconds that loading a motion takes, before one has been seen


@dataclass(frozen=True)
class _Waiting:
    job: Job
    number: int  # of arrival here
    motions: frozenset[str]  # content ids
    mix: str  # key


@dataclass(frozen=True)
class _Placed:
    replica: str
    number: int  # of the order
    client: str


@dataclass(frozen=True)
class Heard:
    """What a report says that is new.

    Attributes:
        outcomes: of orders about motions, of this epoch.
        left: jobs that are no longer in the replica.
    """

    outcomes: tuple[Outcome, ...] = ()
    left: frozenset[str] = frozenset()


@dataclass
class Member:
    """A replica that reports.

    Attributes:
        report: the last one.
        heard: when, on the caller's clock.
        outbox: orders that it has not seen, by number.
    """

    report: Report
    heard: float
    outbox: dict[int, Order] = field(default_factory=dict)

    @property
    def coming(self) -> int:
        """Jobs on their way there."""
        return sum(isinstance(order, Run) for order in self.outbox.values())

    def start_s(self, motions: frozenset[str], mix: str | None = None) -> float:
        """Seconds until a job with these motions would start there.

        What a generation needs is one entry on the device: a single motion's, or the sum of a mix,
        which is made from its motions in host memory.

        Args:
            motions: content ids.
            mix: key of the mix that they are in; null: a single motion, as it is.
        """
        ready, from_disk = (each or FIRST_LOAD_S for each in self.report.load_s)
        read = max(0.0, from_disk - ready)  # of a motion, into host memory
        there = self.report.residency
        loading = 0.0
        if motions and there.get(mix or min(motions)) != DEVICE:
            loading = ready + read * sum(motion not in there for motion in motions)
        return self.report.wait_s + self.coming * self.report.job_s + loading


class Fleet:
    """See the top of this file. Not safe for threads: it belongs to one event loop.

    Args:
        epoch: of this life of the router, unlike any other.
        silent_s: seconds after which a replica that does not report is lost.
    """

    def __init__(self, epoch: str, silent_s: float) -> None:
        self._epoch, self._silent_s = epoch, silent_s
        self._numbers = 0
        self._members: dict[str, Member] = {}
        self._backlog: dict[str, _Waiting] = {}
        self._placed: dict[str, _Placed] = {}

    # --- jobs -------------------------------------------------------------------------------------

    def mark(self) -> int:
        """To be taken before the store is read for :meth:`match`."""
        return self._numbers

    def offer(self, job: Job) -> None:
        """A job is queued in the store; one that is known already is left as it is.

        Raises:
            RequestError: what it asks for cannot be read.
        """
        if job.id not in self._backlog and job.id not in self._placed:
            spec = GenerationSpec.stored(job.request)
            mix = _mix(spec)
            motions = frozenset(part.record.sha256 for part in mix.parts)
            self._backlog[job.id] = _Waiting(job, self._number(), motions, mix.key)

    def match(self, queued: Sequence[Job], mark: int) -> dict[str, RequestError]:
        """Bring what waits here in step with the store.

        Args:
            queued: everything that the store has queued and that may be started.
            mark: from before it was read; what came since is left alone.

        Returns:
            Jobs that nobody can run, and why.
        """
        there = {job.id for job in queued}
        for gone in [
            each.job.id
            for each in self._backlog.values()
            if each.number <= mark and each.job.id not in there
        ]:
            del self._backlog[gone]
        refused: dict[str, RequestError] = {}
        for job in queued:
            try:
                self.offer(job)
            except RequestError as fault:
                refused[job.id] = fault
        return refused

    def cancel(self, job: str) -> str | None:
        """Forget a job that waits here, or order its replica to let it go; that replica's name."""
        self._backlog.pop(job, None)
        placed = self._placed.get(job)
        if placed is None:
            return None
        self.order(placed.replica, LetGo(job))
        return placed.replica

    @property
    def waiting(self) -> int:
        """Jobs that wait for room in a replica."""
        return len(self._backlog)

    def place(self) -> set[str]:
        """Give jobs that wait to replicas with room; the replicas that got some."""
        chosen: set[str] = set()
        members = [m for m in self._members.values() if m.report.ready]
        room = {m.report.replica: m.report.room - m.coming for m in members}
        free = [m for m in members if room[m.report.replica] > 0]
        for waiting in self._in_order() if free else ():
            motions, mix = waiting.motions, waiting.mix
            best = min(free, key=lambda m: (m.start_s(motions, mix), m.report.replica))
            name = best.report.replica
            del self._backlog[waiting.job.id]
            number = self.order(name, Run(waiting.job))
            self._placed[waiting.job.id] = _Placed(name, number, waiting.job.client)
            chosen.add(name)
            room[name] -= 1
            if not room[name]:
                free.remove(best)
            if not free:
                break
        return chosen

    def _in_order(self) -> list[_Waiting]:
        turns = Counter(placed.client for placed in self._placed.values())
        ranked: list[tuple[int, int, _Waiting]] = []
        for waiting in self._backlog.values():
            turns[waiting.job.client] += 1
            ranked.append((turns[waiting.job.client], waiting.number, waiting))
        return [waiting for *_, waiting in sorted(ranked, key=lambda each: each[:2])]

    # --- replicas ---------------------------------------------------------------------------------

    @property
    def members(self) -> Sequence[Member]:
        """Replicas that report, by name."""
        return [member for _, member in sorted(self._members.items())]

    def hear(self, report: Report, now: float) -> Heard:
        """A replica reports."""
        seen = report.seen if report.epoch == self._epoch else 0
        member = self._members.setdefault(report.replica, Member(report, now))
        if report.serial < member.report.serial:
            return Heard()  # overtaken by a later one, which says the same and more
        gone = member.report.jobs - report.jobs
        member.report, member.heard = report, now
        for number in [number for number in member.outbox if number <= seen]:
            del member.outbox[number]
        gone |= self._settle(report, seen)
        return Heard(report.outcomes if report.epoch == self._epoch else (), gone)

    def _settle(self, report: Report, seen: int) -> set[str]:
        """Jobs of a replica as it reports them; those that it was given and no longer has."""
        gone: set[str] = set()
        for job, placed in list(self._placed.items()):
            here = placed.replica == report.replica
            if here and placed.number <= seen and job not in report.jobs:
                del self._placed[job]  # it has ended, or was not taken on: the store knows
                gone.add(job)
        for job in report.jobs:
            known = self._backlog.pop(job, None)
            client = "" if known is None else known.job.client
            self._placed.setdefault(job, _Placed(report.replica, 0, client))
        return gone

    def lose(self, now: float) -> list[str]:
        """Forget replicas that have been silent for too long; their names."""
        lost = [name for name, m in self._members.items() if now - m.heard > self._silent_s]
        for name in lost:
            self.leave(name)
        return lost

    def leave(self, replica: str) -> None:
        """Forget a replica; the jobs it had are given to others once the store has them queued."""
        self._members.pop(replica, None)
        for job in [job for job, placed in self._placed.items() if placed.replica == replica]:
            del self._placed[job]

    # --- orders -----------------------------------------------------------------------------------

    def order(self, replica: str, order: Order) -> int:
        """Put an order into a replica's outbox; its number."""
        number = self._number()
        self._members[replica].outbox[number] = order
        return number

    def orders(self, replica: str, seen: Report) -> Orders:
        """What a replica has not seen yet, going by a report of its."""
        member = self._members.get(replica)
        after = seen.seen if seen.epoch == self._epoch else 0
        pairs = () if member is None else member.outbox.items()
        new = tuple(pair for pair in pairs if pair[0] > after)
        return Orders(self._epoch, new, len(self._backlog))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _mix(spec: GenerationSpec) -> Mix:
    """The mix of a job; of the records only what its key is made of, for nothing is loaded here."""
    return Mix.of(
        (
            DeltaRecord.model_construct(name=each.id, version=each.version, sha256=each.sha256),
            each.weight,
        )
        for each in spec.motions
    )
