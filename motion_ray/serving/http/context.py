"""What routes get from the application they belong to."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from motion_ray.errors import OverloadedError, QuotaError
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.ports import Services

RETRY_S = 5.0  # told to those who find no seat


@dataclass
class Seats:
    """A bounded number of requests that wait or stream; each may take long and costs polling.

    Attributes:
        limit: at once.
        what: they are, for the message.
        each: at once for one key, so that nobody takes the seats of all; null: no such limit.
        count: of those that are taken.
    """

    limit: int
    what: str
    each: int | None = None
    count: int = field(default=0, init=False)
    _of: Counter[str] = field(default_factory=Counter, init=False)

    @contextlib.contextmanager
    def taken(self, client: str = "") -> Iterator[None]:
        """Hold one seat.

        Args:
            client: whose it is; "" for nobody in particular, as on a server without keys.

        Raises:
            OverloadedError: none is free.
            QuotaError: the client holds as many as one may.
        """
        if self.count >= self.limit:
            rule = f"{self.count} {self.what} at once, which is the limit"
            raise OverloadedError("this server", rule, "ask again later", RETRY_S)
        if self.each is not None and client and self._of[client] >= self.each:
            rule = f"{self._of[client]} {self.what} at once, which is the limit"
            raise QuotaError("your key", rule, "ask again later", RETRY_S)
        self.count += 1
        self._of[client] += 1
        try:
            yield
        finally:
            self.count -= 1
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]


@dataclass
class Promises:
    """Idempotency keys of open requests to /sync, and which of them were answered with meanwhile: a
    job that somebody else was promised is not stopped when its maker leaves.
    """

    _open: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    _made: set[tuple[str, str]] = field(default_factory=set, init=False)

    @contextlib.contextmanager
    def watched(self, client: str, key: str | None) -> Iterator[None]:
        """While a request to /sync with this key of a client is open; null: it has none."""
        if key is None:
            yield
            return
        self._open[client, key] += 1
        try:
            yield
        finally:
            self._open[client, key] -= 1
            if not self._open[client, key]:
                del self._open[client, key]
                self._made.discard((client, key))

    def make(self, client: str, key: str | None) -> None:
        """Another request with this key was answered with the job."""
        if key is not None and (client, key) in self._open:
            self._made.add((client, key))

    def made(self, client: str, key: str | None) -> bool:
        """Whether there was such a request."""
        return key is not None and (client, key) in self._made


@dataclass(frozen=True)
class Context:
    """The parts of one application. Everything here belongs to its event loop.

    Attributes:
        config: settings.
        services: what it stands on.
        since: unix seconds of its start.
        waiting: requests that wait for a job or stream its events.
        uploads: motions that are being taken.
        orders: loads, pins and unloads that run; each holds one of a few threads.
        promises: jobs that more than their maker may count on.
    """

    config: ServerConfig
    services: Services
    since: int
    waiting: Seats
    uploads: Seats
    orders: Seats
    promises: Promises = field(default_factory=Promises)


def _context(request: Request) -> Context:
    return request.app.state.context


Here = Annotated[Context, Depends(_context)]
"""The application that a request came to."""
