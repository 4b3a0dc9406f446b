"""Waiting for a job without blocking the event loop: short looks at the store, in threads.

Replicas, and other processes, write to the store; it is the one place where everything is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from motion_ray.serving.job_store import JobStore
from motion_ray.serving.jobs import Job

LONGEST_POLL_S = 1.0
GROWTH = 1.2  # of the pause between two looks: short jobs are answered soon, long ones cost little


Settled = Callable[[str, float], Awaitable[None]]
"""``Backend.settled``: comes back when a job may have ended, or after so many seconds."""


async def until_final(
    jobs: JobStore,
    settled: Settled,
    job: str,
    seconds: float,
    poll_s: float,
    left: Callable[[], Awaitable[bool]] | None = None,
) -> Job:
    """The job once nothing about it changes any more, or as it is when the time is over.

    Args:
        jobs: the store.
        settled: saves the last pause where the backend knows that a job has ended.
        job: id.
        seconds: to wait; with 0 it is looked at once.
        poll_s: shortest pause between two looks.
        left: whether nobody waits for the answer any more; asked after every look.

    Raises:
        ClientLeft: ``left`` said so.
        JobNotFoundError: it is gone, or never was.
        JobStoreError: the store cannot be used.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, poll_s
    while True:
        found = await run_in_threadpool(jobs.get, job)
        rest = end - loop.time()
        if found.state.final or rest <= 0:
            return found
        if left is not None and await left():
            raise ClientLeft
        await settled(job, min(pause, rest))
        pause = min(pause * GROWTH, max(poll_s, LONGEST_POLL_S))


class ClientLeft(Exception):
    """The connection was closed before the answer."""
