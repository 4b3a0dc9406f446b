"""Errors that nobody foresaw, and those that the framework finds: all in the one envelope."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from motion_ray.errors import OverloadedError
from motion_ray.serving.http.problems import Unforeseen, answer
from tests.serving.http.calls import UNKNOWN, error, post


def test_what_nobody_foresaw_is_logged_and_answered_in_general_terms(
    client, server, monkeypatch, logged
):
    def broken(*args: object) -> None:
        raise RuntimeError("/srv/secret: out of memory")

    monkeypatch.setattr(server.jobs, "get", broken)
    found = client.get(f"/v1/videos/{UNKNOWN}")
    assert error(found) == (500, "internal_error", None)
    assert "secret" not in found.text and "X-Request-Id" in found.headers
    [line] = [each for each in logged() if "error" in each]
    assert "/srv/secret: out of memory" in line["error"]
    assert line["request_id"] == found.headers["X-Request-Id"]


def test_a_damaged_row_of_ours_is_no_mistake_of_the_clients(client, server):
    video = post(client, wait=20).json()["id"]
    with server.jobs._database.writing() as connection:
        connection.execute("UPDATE jobs SET request = ?", ('{"prompt": 1}',))
    found = client.get(f"/v1/videos/{video}")  # as far as it can be read
    assert found.status_code == 200
    assert (found.json()["status"], found.json()["prompt"]) == ("completed", "")
    assert client.get("/v1/videos").json()["data"] == [found.json()]
    assert client.get(f"/v1/videos/{video}/content").status_code == 200


def test_addresses_and_methods_that_there_are_not(client):
    for path in ("/v1", "/v1/videos/", "/docs", "/redoc", "/V1/models", "//v1/models"):
        assert error(client.get(path)) == (404, "not_found", None), path
    found = client.put("/v1/videos", json={})
    assert error(found) == (405, "method_not_allowed", None)
    assert set(found.headers["Allow"].split(", ")) <= {"GET", "POST"}


def test_half_an_answer_breaks_the_connection():
    """A second start of an answer would be taken for a part of the first."""

    async def frames():
        yield b"half"
        raise RuntimeError("gone")

    async def app(scope, receive, send):
        await StreamingResponse(frames())(scope, receive, send)

    sent: list[str] = []

    async def send(message) -> None:
        sent.append(message["type"])

    async def receive():
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}
    with pytest.raises(RuntimeError, match="gone"):
        asyncio.run(Unforeseen(app)(scope, receive, send))
    assert sent.count("http.response.start") == 1


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, "1"), (0.4, "1"), (2.4, "2"), (86_000, "86000")]
)
def test_times_to_wait_are_whole_seconds_and_never_none(seconds, told):
    found = answer(OverloadedError("the queue", "is full", "", seconds))
    assert (found.status_code, found.headers["Retry-After"]) == (429, told)


def test_a_value_of_ours_that_is_not_valid_is_not_shown():
    class Value(BaseModel):
        secret: int

    with pytest.raises(ValueError) as caught:
        Value.model_validate({"secret": "hunter2"})
    found = answer(caught.value)
    assert found.status_code == 500 and b"secret" not in found.body
