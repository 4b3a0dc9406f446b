"""The real application on a real socket, over a toy base model; and a client of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from motion_ray.client import Client, RetryPolicy
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.keys import ApiKeys
from tests.serving.http.toy_server import ToyServer, toy_server
from tests.waiting import until


@dataclass(frozen=True)
class Live:
    """A server that listens.

    Attributes:
        toy: its parts.
        port: on this machine.
    """

    toy: ToyServer
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str | None = None) -> Client:
        return Client(self.url, key, retry=RetryPolicy(first_s=0.05))


@contextmanager
def listening(toy: ToyServer, port: int = 0) -> Iterator[Live]:
    """Serve in a thread, until the end of the context."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stream.bind(("127.0.0.1", port))
    app = create_app(toy.config, toy.services)
    settings = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [stream]})
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        yield Live(toy, stream.getsockname()[1])
    finally:
        toy.engine.go_on.set()
        server.should_exit = True
        thread.join(30)
        stream.close()


Serve = Callable[..., Live]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, all over the same folder of jobs and videos; the last one ends first."""
    with ExitStack() as stack:

        def start(keys: ApiKeys | None = None, port: int = 0, **settings: object) -> Live:
            config = ServerConfig.model_validate({"poll_s": 0.01, **settings})
            toy = toy_server(tmp_path / "server", config, keys)
            return stack.enter_context(listening(toy, port))

        yield start


@pytest.fixture
def live(serve: Serve) -> Live:
    """A server without keys."""
    return serve()


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    """A client of it."""
    with live.client() as client:
        yield client
