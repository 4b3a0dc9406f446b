"""What routes get from the application they belong to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from motion_ray.errors import OverloadedError
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.ports import Services


@dataclass
class Seats:
    """A bounded number of requests that wait or stream; each may take long and costs polling.

    Attributes:
        limit: at once.
        what: they are, for the message.
        count: of those that are taken.
    """

    limit: int
    what: str
    count: int = field(default=0, init=False)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold one seat.

        Raises:
            OverloadedError: none is free.
        """
        if self.count >= self.limit:
            rule = f"{self.count} {self.what} at once, which is the limit"
            raise OverloadedError("this server", rule, "ask again later", 5.0)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


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
    """

    config: ServerConfig
    services: Services
    since: int
    waiting: Seats
    uploads: Seats
    orders: Seats


def _context(request: Request) -> Context:
    return request.app.state.context


Here = Annotated[Context, Depends(_context)]
"""The application that a request came to."""
