"""What the HTTP application stands on: who runs the jobs, who may ask, where everything is kept.

:class:`Backend` is implemented by :class:`motion_ray.serving.http.local.LocalBackend`, with one
replica in this process, and by the router of a Ray Serve deployment, with any number of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Job
from motion_ray.serving.key_file import ApiKey
from motion_ray.serving.pool import Level
from motion_ray.serving.pool_statistics import PoolStatistics
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.requests import ServingProfile
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.uploads import BaseLayout
from motion_ray.store import DeltaRecord, DeltaStore


@dataclass(frozen=True)
class ReplicaState:
    """A replica as it was last heard of.

    Attributes:
        name: unique among replicas and restarts.
        ready: its base model is loaded and has made a first video, and it takes work.
        queued: jobs that wait in it.
        wait_s: seconds until a job that comes now would start there.
        residency: content id of each motion in its memory, with the nearest place.
        pinned: content id of each motion that is pinned there, with the place.
        pool: counts of its pool; null before the first report.
    """

    name: str
    ready: bool
    queued: int = 0
    wait_s: float = 0.0
    residency: Mapping[str, Level] = field(default_factory=dict)
    pinned: Mapping[str, Level] = field(default_factory=dict)
    pool: PoolStatistics | None = None


class Backend(Protocol):
    """Runs jobs that are in the store. Every method is called in the application's event loop and
    must not block it.
    """

    async def start(self) -> None:
        """Called once, before the first request; returns soon.

        From here on until :meth:`close` the backend hands out what is queued in the store (also
        what an earlier process accepted), warms its replicas up, and calls
        :func:`motion_ray.serving.results.tidy` a few times in a claim's length and
        :func:`motion_ray.serving.results.sweep` now and then.
        """
        ...

    async def close(self) -> None:
        """Called once, after the last request. What runs is given back to the store."""
        ...

    async def dispatch(self, job: Job) -> None:
        """A job has just been accepted and is queued in the store.

        Never raises for want of room or of replicas: the job stays queued in the store and is
        handed out later. Called twice for a job, it is still run once.
        """
        ...

    async def cancel(self, job: str) -> None:
        """A job was cancelled in the store: whoever runs it stops within one denoising step.

        Nothing happens if nobody runs it.
        """
        ...

    async def settled(self, job: str, seconds: float) -> None:
        """Come back when a job may have ended, at the latest after so many seconds.

        A hint that saves looks at the store, no promise: to sleep for so long is right as well.
        """
        ...

    async def replicas(self) -> Sequence[ReplicaState]:
        """What is known of the replicas, from memory: asking must cost nobody a denoising step."""
        ...

    async def load(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """Have a motion in the memory of at least so many replicas (all, if there are fewer).

        Raises:
            PoolError: it does not fit.
            DeltaError: it is broken, or made for another base.
            StoreError: the store cannot be read.
        """
        ...

    async def unload(self, record: DeltaRecord, wait_s: float) -> bool:
        """Take a motion out of the memory of every replica, pinned or not.

        Args:
            record: the version.
            wait_s: seconds to wait for generations that use it.

        Returns:
            Whether it is gone everywhere.
        """
        ...

    async def pin(self, record: DeltaRecord, level: Level, replicas: int) -> None:
        """:meth:`load`, and let it stay there until :meth:`unpin`.

        Raises:
            PoolError: it does not fit, or the pins leave no room for it.
            DeltaError: it is broken, or made for another base.
            StoreError: the store cannot be read.
        """
        ...

    async def unpin(self, record: DeltaRecord) -> None:
        """Let a motion leave again when room is needed, everywhere."""
        ...


class Keys(Protocol):
    """Recognizes API keys; :class:`motion_ray.serving.keys.ApiKeys` does."""

    def find(self, secret: str) -> ApiKey | None:
        """The key that was presented; null for one that is unknown or revoked.

        Raises:
            KeysError: the keys cannot be read, so nobody may be let in.
        """
        ...


class RequestWatch(Protocol):
    """Somebody who counts what no replica hears of; called in the event loop, and not to raise."""

    def refused(self, status: int, code: str) -> None:
        """A request was answered with an error.

        Args:
            status: of HTTP, 400 or more.
            code: in the envelope; one of a few dozen.
        """
        ...

    def cancelled(self) -> None:
        """A job was cancelled while it waited."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything that the application uses.

    Attributes:
        profile: the model that is served, its defaults and limits.
        jobs: accepted jobs.
        results: their videos.
        deltas: published motions.
        catalog: the motions of ``deltas`` that go with the served base.
        layout: names and shapes of the served base, which uploaded motions have to fit.
        backend: runs the jobs.
        keys: who may ask; null lets everybody in.
        sources: places from which motions may be registered.
        watch: counts requests; null: nobody does.
    """

    profile: ServingProfile
    jobs: JobStore
    results: ResultFolder
    deltas: DeltaStore
    catalog: MotionCatalog
    layout: BaseLayout
    backend: Backend
    keys: Keys | None = None
    sources: AllowedSources = field(default_factory=AllowedSources)
    watch: RequestWatch | None = None
