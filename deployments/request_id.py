"""One request id in an answer: Serve's proxy adds the header that the application has added."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motion_ray.serving.http.accesslog import REQUEST_ID


class OneRequestId:
    """Middleware that leaves the header to the proxy, which knows the same id.

    The proxy gives each request an id, or keeps the client's; the application takes it over if it
    is plain, and makes one of its own otherwise, which has to stay in the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get(REQUEST_ID)

        async def once(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if known is not None and headers.get(REQUEST_ID) == known:
                    del headers[REQUEST_ID]
            await send(message)

        await self._app(scope, receive, once)
