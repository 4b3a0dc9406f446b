"""Requests that several tests make, and the application called without any client in between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.ports import Services

URL = "http://127.0.0.1:8000"
BODY = {"prompt": "a red robot doing the pll", "seed": 7}
UNKNOWN = f"video_{'0' * 32}"


def post(client: TestClient, wait: int | None = None, key: str | None = None, **fields: Any):
    """Ask for a video."""
    headers = {} if wait is None else {"Prefer": f"wait={wait}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return client.post("/v1/videos", json=BODY | fields, headers=headers)


def sync(client: TestClient, **fields: Any):
    """Ask for a video and wait for it."""
    return client.post("/v1/videos/sync", json={"prompt": "a robot", "seed": 3} | fields)


def ended(client: TestClient, video: str) -> dict[str, Any]:
    """The video once it has ended."""
    deadline = time.monotonic() + 20
    while True:
        found = client.get(f"/v1/videos/{video}").json()
        if found["status"] in ("completed", "failed", "cancelled"):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


def error(answer: Any) -> tuple[int, str, str | None]:
    """Status, code and param of an error, which has to have the envelope."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"} and body["message"]
    return answer.status_code, body["code"], body["param"]


@contextlib.asynccontextmanager
async def running(config: ServerConfig, services: Services) -> AsyncIterator[FastAPI]:
    """An application that works, for requests of :func:`raw` in the same loop."""
    app = create_app(config, services)
    async with app.router.lifespan_context(app):
        yield app


async def raw(
    app: ASGIApp,
    method: str,
    path: str,
    body: bytes | AsyncIterator[bytes] = b"",
    *,
    headers: Mapping[str, str] | None = None,
    left: asyncio.Event | None = None,
    seen: bytearray | None = None,
) -> tuple[int | None, dict[str, str], bytes]:
    """One request as a server would pass it on.

    Args:
        app: the application.
        method: of HTTP.
        path: without a query.
        body: whole, or in parts.
        headers: beside those that every client sends.
        left: set when the client has gone.
        seen: gets the body of the answer as it comes.

    Returns:
        Status, headers and body of the answer.
    """
    sent = {"host": "127.0.0.1", "content-type": "application/json"}
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    messages = _messages(body)

    async def receive() -> Message:
        message = await anext(messages, None)
        if message is not None:
            return message
        if left is None:
            await asyncio.Event().wait()
        else:
            await left.wait()
        return {"type": "http.disconnect"}

    status, answered = None, dict[str, str]()
    content = bytearray() if seen is None else seen

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            answered.update({k.decode().lower(): v.decode() for k, v in message["headers"]})
        else:
            content.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, answered, bytes(content)


async def _messages(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[Message]:
    if isinstance(body, bytes):
        yield {"type": "http.request", "body": body, "more_body": False}
        return
    async for part in body:
        yield {"type": "http.request", "body": part, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}
