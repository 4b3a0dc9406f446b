"""The connection of a replica to its router, seen from the replica: report, follow, repeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from motion_ray.serving.orders import Orders, Report
from motion_ray.serving.station import Station

log = logging.getLogger(__name__)

RETRY_S = 0.5  # after a router did not answer
MOST_POLLS = 4  # reports under way

Exchange = Callable[[Report], Awaitable[Orders]]
"""Sends a report and gets the orders; raises whatever the connection raises."""


class Line:
    """Reports at once when something changed, and otherwise whenever the router has answered.

    A router that is away is tried again for as long as it takes: what the replica has goes on
    meanwhile. Belongs to one event loop, except for :meth:`changed`.

    Args:
        station: the replica's.
        exchange: to the router.

    Attributes:
        waiting: jobs that no replica has room for, as last heard.
    """

    def __init__(self, station: Station, exchange: Exchange) -> None:
        self._station, self._exchange = station, exchange
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._polls: set[asyncio.Task[None]] = set()
        self._answered = True
        self.waiting = 0

    def changed(self) -> None:
        """Something happened that the router should know; from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """Report and follow until cancelled."""
        try:
            while True:
                self._changed.clear()
                report = await asyncio.to_thread(self._station.report)
                self._polls.add(asyncio.create_task(self._poll(report)))
                await self._until_due()
        finally:
            for poll in self._polls:
                poll.cancel()
            await asyncio.gather(*self._polls, return_exceptions=True)

    async def _until_due(self) -> None:
        """Until something changed, or nothing is under way any more.

        A report that is answered because a later one came is no reason to send another one: the two
        would chase each other.
        """
        change = asyncio.create_task(self._changed.wait())
        try:
            while self._polls and not (change.done() and len(self._polls) < MOST_POLLS):
                waited = self._polls if change.done() else {*self._polls, change}
                done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                self._polls -= done
        finally:
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)

    async def _poll(self, report: Report) -> None:
        try:
            orders = await self._exchange(report)
        except Exception as fault:  # whatever a remote call raises while the router is away
            if self._answered:
                log.warning("the router does not answer: %s", type(fault).__name__, exc_info=fault)
            self._answered = False
            await asyncio.sleep(RETRY_S)
            return
        if not self._answered:
            log.info("the router answers again")
        self._answered, self.waiting = True, orders.waiting
        try:
            await asyncio.to_thread(self._station.follow, orders, report)
        except Exception:  # the next answer holds the same orders: not at once
            log.exception("the router's orders could not be followed")
            await asyncio.sleep(RETRY_S)
