"""One line of JSON for every request, an id that goes with it, and headers for every answer."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_ray.serving.http.access import Caller
from motion_ray.serving.http.ports import RequestWatch
from motion_ray.serving.http.problems import ERROR_CODE
from motion_ray.serving.logs import FIELDS, about

log = logging.getLogger("motion_ray.access")

REQUEST_ID = "X-Request-Id"
LONGEST_PATH = 200  # characters that are logged
VIDEOS = "/v1/videos/"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: The API returns data, never anything that a browser should run, frame or guess the type of. A
#: response may set its own, as the page does.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class AccessLog:
    """Middleware around everything else.

    A line names the job that was accepted, as the replicas' logs do. It holds no header but the id,
    and no query string: those may hold secrets. An id that a client sends is kept if it is plain,
    so that it can be found in the logs of both.

    Args:
        app: behind it.
        watch: told of requests that were answered with an error.
    """

    def __init__(self, app: ASGIApp, watch: RequestWatch | None = None) -> None:
        self._app, self._watch = app, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = wanted if _ID.fullmatch(wanted) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        line = _Line(request_id)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                line.status = message["status"]
                headers = MutableHeaders(scope=message)
                line.job = _job_of(headers)
                headers[REQUEST_ID] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                line.nbytes += len(message.get("body", b""))
            await send(message)

        try:
            with about(request_id=request_id):
                await self._app(scope, receive, noted)
        finally:
            log.info("request", extra={FIELDS: line.fields(scope)})
            code = scope["state"].get(ERROR_CODE)
            if self._watch is not None and code is not None and line.status is not None:
                self._watch.refused(line.status, code)


class _Line:
    """What is known about a request so far."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.status: int | None = None  # stays so if the client left before an answer
        self.job: str | None = None
        self.nbytes = 0
        self._started = time.perf_counter()

    def fields(self, scope: Scope) -> dict[str, object]:
        """What the line says."""
        caller: Caller | None = scope["state"].get("caller")
        return {
            "request_id": self.request_id,
            "remote": (scope.get("client") or ("",))[0],
            "client": caller.client if caller else "",
            "method": scope["method"],
            "path": scope["path"][:LONGEST_PATH],
            "status": self.status,
            "job": self.job,
            "bytes": self.nbytes,
            "ms": round((time.perf_counter() - self._started) * 1000, 1),
        }


def _job_of(headers: Headers) -> str | None:
    """The job that an answer names: where it is, or that its video is in the body."""
    place = headers.get("location", "")
    there = place.removeprefix(VIDEOS) if place.startswith(VIDEOS) else None
    return headers.get("x-video-id", there)
