"""A toy server, and a client of it that speaks HTTP to the application in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from motion_ray.serving.http.app import create_app
from tests.serving.http.toy_server import ToyServer, toy_server


@pytest.fixture
def server(tmp_path) -> ToyServer:
    return toy_server(tmp_path)


@pytest.fixture
def client(server) -> Iterator[TestClient]:
    app = create_app(server.config, server.services)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client
        server.engine.go_on.set()
