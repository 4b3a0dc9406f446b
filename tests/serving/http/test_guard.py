"""What is refused before the application: foreign hosts and origins, large and slow bodies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from motion_ray.errors import ConfigError
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig, check_exposure, is_loopback
from tests.serving.http.calls import error, raw
from tests.serving.http.toy_server import toy_server
from tests.waiting import until_true

BODY = json.dumps({"prompt": "a robot"}).encode()


# --- binding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_alone(host):
    assert is_loopback(host)
    check_exposure(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.evil.example", "", "*"]
)
def test_other_addresses_need_keys(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="there are no API keys"):
        check_exposure(host, None)
    check_exposure(host, Path("keys.json"))


# --- hosts and origins ----------------------------------------------------------------------------


def app_with(folder: Path, **changes: object) -> FastAPI:
    config = ServerConfig.model_validate({"poll_s": 0.01} | changes)
    server = toy_server(folder, config)
    return create_app(config, server.services)


def status(app: FastAPI, **headers: str) -> int:
    return TestClient(app).get("/health/live", headers=headers).status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("localhost:3000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:8000@evil.example", 403),
        ("127.0.0.1/", 403),
        ("", 403),
        ("2130706433", 403),
    ],
)
def test_a_local_server_answers_to_local_names_alone(tmp_path, host, expected):
    """A page whose name was made to point here (DNS rebinding) sends its own name."""
    assert status(app_with(tmp_path), Host=host) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://127.0.0.1:8000", 200),
        ("http://127.0.0.1:9000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://127.0.0.1:8000.evil.example", 403),
    ],
)
def test_pages_of_other_origins_may_not_call(tmp_path, origin, expected):
    assert status(app_with(tmp_path), Host="127.0.0.1:8000", Origin=origin) == expected


def test_names_and_origins_that_the_operator_allows(tmp_path):
    app = app_with(
        tmp_path, allowed_hosts=("studio.lan",), allowed_origins=("https://page.example",)
    )
    assert status(app, Host="studio.lan:8000") == 200
    assert status(app, Host="other.lan") == 403
    assert status(app, Host="studio.lan", Origin="https://page.example") == 200
    assert status(app, Host="studio.lan", Origin="http://page.example") == 403


def test_a_server_for_others_takes_any_name_unless_told_which(tmp_path):
    assert status(app_with(tmp_path / "a", host="0.0.0.0"), Host="anything.example") == 200
    told = app_with(tmp_path / "b", host="0.0.0.0", allowed_hosts=("studio.example",))
    assert status(told, Host="studio.example") == 200
    assert status(told, Host="anything.example") == 403


def test_the_refusal_has_the_envelope(tmp_path):
    answer = TestClient(app_with(tmp_path)).get("/v1/models", headers={"Host": "evil.example"})
    assert error(answer) == (403, "unknown_host", "Host")


# --- bodies ---------------------------------------------------------------------------------------


def send(
    app: FastAPI, body: bytes | AsyncIterator[bytes], path: str = "/v1/videos", **headers: str
):
    """Status and code of the answer, and the seconds it took."""

    async def run() -> tuple[int | None, str, float]:
        started = time.perf_counter()
        status, _, content = await raw(app, "POST", path, body, headers=headers)
        return status, json.loads(content)["error"]["code"], time.perf_counter() - started

    return asyncio.run(run())


async def drip(parts: int, size: int, seconds: float, read: list[int]) -> AsyncIterator[bytes]:
    for _ in range(parts):
        await asyncio.sleep(seconds)
        read.append(size)
        yield b" " * size


def test_a_body_that_says_it_is_too_large_is_not_read(tmp_path):
    app = app_with(tmp_path, body_bytes=1000)
    read: list[int] = []
    answer = send(app, drip(5, 1000, 0, read), **{"Content-Length": "5000"})
    assert answer[:2] == (413, "body_too_large") and read == []


def test_a_body_without_a_length_is_read_up_to_the_limit(tmp_path):
    app = app_with(tmp_path, body_bytes=1000)
    read: list[int] = []
    assert send(app, drip(1000, 400, 0, read))[:2] == (413, "body_too_large")
    assert sum(read) <= 1600


def test_a_body_that_lies_about_its_length(tmp_path):
    app = app_with(tmp_path, body_bytes=1000)
    answer = send(app, drip(5, 1000, 0, []), **{"Content-Length": "10"})
    assert answer[:2] == (413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 5000, "٣"])
def test_lengths_that_are_none(tmp_path, length):
    async def run() -> int | None:
        app = app_with(tmp_path)
        return (await raw(app, "POST", "/v1/videos", BODY, headers={"Content-Length": length}))[0]

    assert asyncio.run(run()) == 413


def test_a_slow_body_is_given_up(tmp_path):
    app = app_with(tmp_path, body_s=0.2)
    status, code, seconds = send(app, drip(10_000, 1, 0.02, []))
    assert (status, code) == (408, "body_too_slow") and seconds < 5


def test_only_an_upload_may_be_large(tmp_path):
    app = app_with(tmp_path, body_bytes=100, upload_bytes=10_000)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    large = b"x" * 5000
    assert send(app, large, "/v1/motions", **form)[0] in (400, 422)  # read, and no form
    assert send(app, b"x" * 20_000, "/v1/motions", **form)[0] == 413
    assert send(app, large, "/v1/motions")[0] == 413
    assert send(app, large, "/v1/videos", **form)[0] == 413
    assert send(app, large, "/v1/motions/arms/load", **form)[0] == 413


def test_many_slow_bodies_hinder_nobody(tmp_path):
    app = app_with(tmp_path, body_s=60)  # none of them ends by itself

    async def run() -> None:
        read: list[int] = []
        slow = [
            asyncio.create_task(raw(app, "POST", "/v1/videos", drip(10_000, 1, 0.5, read)))
            for _ in range(100)
        ]
        await until_true(lambda: len(read) >= 100)
        for _ in range(10):
            assert (await raw(app, "GET", "/v1/models"))[0] == 200
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 50))
