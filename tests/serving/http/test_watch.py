"""What is counted of requests: errors by status and code, and jobs that no replica had."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from tests.serving.http.calls import URL, ended, post
from tests.serving.http.toy_server import ToyServer, toy_server


class Watch:
    """Counts."""

    def __init__(self) -> None:
        self.errors: Counter[tuple[int, str]] = Counter()
        self.jobs = 0

    def refused(self, status: int, code: str) -> None:
        self.errors[status, code] += 1

    def cancelled(self) -> None:
        self.jobs += 1


@pytest.fixture
def server(tmp_path) -> ToyServer:
    return toy_server(tmp_path, ServerConfig(poll_s=0.01, queued=1, body_bytes=1000))


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def client(server, watch) -> Iterator[TestClient]:
    services = dataclasses.replace(server.services, watch=watch)
    with TestClient(create_app(server.config, services), base_url=URL) as client:
        yield client
        server.engine.go_on.set()


def test_requests_that_are_refused_are_counted_by_code(client, server, watch):
    server.engine.go_on.clear()
    post(client)
    assert server.engine.entered.wait(10)
    post(client)
    for _ in range(2):
        post(client)
    post(client, prompt="a robot doing the ohwx")
    post(client, seed=-1)
    post(client, prompt="x" * 1000)
    client.get("/v1/nowhere")
    client.get("/v1/models", headers={"Host": "evil.example"})
    client.get("/v1/models")
    assert watch.errors == {
        (429, "queue_full"): 2,
        (422, "unknown_token"): 1,
        (422, "invalid_value"): 1,
        (413, "body_too_large"): 1,
        (404, "not_found"): 1,
        (403, "unknown_host"): 1,
    }


def test_what_nobody_foresaw_is_counted(client, server, watch, monkeypatch):
    monkeypatch.setattr(server.jobs, "page", lambda *args, **more: 1 / 0)
    client.get("/v1/videos")
    assert watch.errors == {(500, "internal_error"): 1}


def test_a_job_that_is_cancelled_while_it_waits_is_counted_once(client, server, watch):
    server.engine.go_on.clear()
    runs = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    waits = post(client).json()["id"]
    for video in (waits, waits, runs):  # one that runs is counted by its replica
        assert client.post(f"/v1/videos/{video}/cancel").status_code == 200
    assert watch.jobs == 1
    assert ended(client, runs)["status"] == "cancelled"
    server.engine.entered.clear()
    runs = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    assert client.delete(f"/v1/videos/{post(client).json()['id']}").status_code == 200
    assert watch.jobs == 2 and not watch.errors
