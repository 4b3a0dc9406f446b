"""What every request passes before the application: its address, its origin, its size, its time.

A server on this machine alone is still reachable by web pages in this machine's browser. A page's
own host name may be made to point here (DNS rebinding), so the Host header has to be a name of
ours; and a page may send requests without being allowed to read answers, so an Origin header has to
be ours as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_ray.serving.http.config import ServerConfig, is_loopback
from motion_ray.serving.http.problems import PERMISSION, Problem, answer

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class BodyLimit:
    """How large a body may be, and how long it may take to arrive.

    Attributes:
        nbytes: at most.
        seconds: from the first byte asked for to the last.
    """

    nbytes: int
    seconds: float


class HostGate:
    """Middleware that answers only requests which address this server by a name of its own.

    Args:
        app: behind it.
        config: ``host``, ``allowed_hosts`` and ``allowed_origins`` count. A server that binds to
            an address which others reach, and that has no list, takes every host: it has keys,
            which a page does not know.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        names = {name.lower() for name in config.allowed_hosts}
        if names or is_loopback(config.host):
            names |= _LOCAL | {config.host.lower(), f"[{config.host.lower()}]"}
        self._names = names
        self._origins = {origin.lower().rstrip("/") for origin in config.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            try:
                self._check(Headers(scope=scope))
            except Problem as refusal:
                await answer(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or (self._names and match["name"].lower() not in self._names):
            message = "this server does not answer to that host name; add it to allowed_hosts"
            raise Problem(403, "unknown_host", message, kind=PERMISSION, param="Host")
        for origin in headers.getlist("origin"):
            own = origin.lower().partition("://")[2] == hosts[0].lower()
            if not own and origin.lower() not in self._origins:
                message = "pages of that origin may not call this server; see allowed_origins"
                raise Problem(403, "unknown_origin", message, kind=PERMISSION, param="Origin")


class BodyGate:
    """Middleware that stops reading a body that is too large or too slow.

    Args:
        app: behind it.
        limit: for a request.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[Scope], BodyLimit]) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope)
        declared = Headers(scope=scope).get("content-length", "0")
        # The server has refused what is no number; anything else of 20 digits is too large as well.
        if not declared.isdecimal() or len(declared) > 20 or int(declared) > limit.nbytes:
            await answer(_too_large(limit))(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: BodyLimit) -> Receive:
    """The same messages, as long as they keep to the limit."""
    count, whole = 0, False
    ends: float | None = None

    async def counted() -> Message:
        nonlocal count, whole, ends
        if whole:  # only the end of the connection is left to wait for, however long
            return await receive()
        now = asyncio.get_running_loop().time()
        ends = now + limit.seconds if ends is None else ends
        try:
            async with asyncio.timeout(max(0.0, ends - now)):
                message = await receive()
        except TimeoutError:
            headers = {"Connection": "close"}
            rule = f"the body did not arrive within {limit.seconds:g} seconds"
            raise Problem(408, "body_too_slow", rule, headers=headers) from None
        if message["type"] == "http.request":
            count += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if count > limit.nbytes:
                raise _too_large(limit)
        return message

    return counted


def _too_large(limit: BodyLimit) -> Problem:
    rule = f"the body has more than {limit.nbytes:,} bytes, which is the limit"
    return Problem(413, "body_too_large", rule, headers={"Connection": "close"})
