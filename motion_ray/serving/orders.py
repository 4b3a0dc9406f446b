"""What a router and its replicas tell each other: reports one way, orders the other way.

A replica sends a :class:`Report` and gets the :class:`Orders` that it has not seen yet. Orders are
numbered, a report says which number came last, and what has not been seen is sent again, so each
order is followed exactly once whatever gets lost on the way. The numbers belong to one life of the
router, its epoch: after a restart it counts anew, and learns from the reports what runs where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from motion_ray.errors import MotionRayError
from motion_ray.serving.jobs import Job
from motion_ray.serving.pool import Level
from motion_ray.serving.pool_statistics import PoolStatistics
from motion_ray.serving.scheduler import FIRST_GUESS
from motion_ray.store import DeltaRecord


@dataclass(frozen=True)
class Run:
    """Take a job on, which is queued in the store."""

    job: Job


@dataclass(frozen=True)
class LetGo:
    """Stop a job, or do not start it: it was cancelled in the store."""

    job: str


@dataclass(frozen=True)
class Hold:
    """Load a motion.

    Attributes:
        record: the version.
        level: how near.
        pinned: and let it stay.
    """

    record: DeltaRecord
    level: Level
    pinned: bool


@dataclass(frozen=True)
class Unpin:
    """Let a motion leave again when room is needed."""

    record: DeltaRecord


@dataclass(frozen=True)
class Unload:
    """Take a motion out of memory.

    Attributes:
        record: the version.
        wait_s: seconds to wait for generations that use it.
    """

    record: DeltaRecord
    wait_s: float


Order = Run | LetGo | Hold | Unpin | Unload


@dataclass(frozen=True)
class Outcome:
    """What became of an order about a motion.

    Attributes:
        number: of the order.
        done: whether it was followed entirely.
        fault: why not, if there is a reason.
    """

    number: int
    done: bool
    fault: MotionRayError | None = None


@dataclass(frozen=True)
class Orders:
    """What a replica has not seen yet, in the order of the numbers.

    Attributes:
        epoch: of the router; a report with another one has seen nothing.
        numbered: orders by number.
        waiting: jobs that no replica has room for.
    """

    epoch: str
    numbered: tuple[tuple[int, Order], ...] = ()
    waiting: int = 0


@dataclass(frozen=True)
class Report:
    """A replica at this moment.

    Attributes:
        replica: its name, unique among replicas and restarts.
        serial: counts its reports; an older one that arrives later is not heeded.
        ready: its base model is loaded and has made a first video.
        epoch: of the router that ``seen`` belongs to.
        seen: number of the last order that it has taken.
        jobs: everything that waits or runs here, or is being written.
        queued: jobs that wait.
        room: jobs that it would take on top.
        wait_s: seconds until a job that comes now would start.
        job_s: mean seconds for which a job keeps the device.
        load_s: mean seconds that it took to make a motion ready: from host memory, from disk.
        residency: content id of each motion in memory (and key of each mix), with the nearest
            place.
        pinned: content id of each motion that is pinned, with the place.
        pool: counts.
        outcomes: of orders about motions, since the last report that arrived.
    """

    replica: str
    serial: int
    ready: bool
    epoch: str = ""
    seen: int = 0
    jobs: frozenset[str] = frozenset()
    queued: int = 0
    room: int = 0
    wait_s: float = 0.0
    job_s: float = FIRST_GUESS
    load_s: tuple[float, float] = (0.0, 0.0)
    residency: Mapping[str, Level] = field(default_factory=dict)
    pinned: Mapping[str, Level] = field(default_factory=dict)
    pool: PoolStatistics | None = None
    outcomes: tuple[Outcome, ...] = ()
