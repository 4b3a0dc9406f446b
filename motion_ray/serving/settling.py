"""Who waits for jobs to end, and is woken by whoever hears of it. Belongs to one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable


class Settling:
    """Waits for jobs, each bounded in time."""

    def __init__(self) -> None:
        self._waits: dict[str, set[asyncio.Event]] = {}

    @property
    def jobs(self) -> frozenset[str]:
        """Jobs that somebody waits for."""
        return frozenset(self._waits)

    async def wait(self, job: str, seconds: float) -> None:
        """Come back when a job may have ended, at the latest after so many seconds."""
        woken = asyncio.Event()
        together = self._waits.setdefault(job, set())
        together.add(woken)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await woken.wait()
        finally:
            together.discard(woken)
            if not together:
                self._waits.pop(job, None)

    def wake(self, jobs: Iterable[str]) -> None:
        """These may have ended."""
        for woken in [each for job in jobs for each in self._waits.get(job, ())]:
            woken.set()
