"""Who may do what: a matrix over every route that there is, so that none can be forgotten."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from motion_ray.errors import KeysError
from motion_ray.serving.http.access import OPEN
from motion_ray.serving.http.app import create_app
from motion_ray.serving.key_file import ApiKey, KeyLimits, Scope, create_key, revoke_key
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.logs import JsonLines
from tests.serving.http.calls import URL, error, post, sync
from tests.serving.http.toy_server import ToyServer, toy_server

ADMIN = {
    ("POST", "/v1/motions"),
    ("DELETE", "/v1/motions/{motion}"),
    ("POST", "/v1/motions/{motion}/load"),
    ("POST", "/v1/motions/{motion}/unload"),
    ("POST", "/v1/motions/{motion}/pin"),
}
ANY = {("GET", "/v1/motions"), ("GET", "/v1/motions/{motion}"), ("GET", "/v1/models")}


class FixedKeys:
    """Keys without a file."""

    def __init__(self) -> None:
        self.known = {
            "alice": ApiKey("alice", frozenset({Scope.GENERATE})),
            "bob": ApiKey("bob", frozenset({Scope.GENERATE}), KeyLimits(active=1)),
            "admin": ApiKey("admin", frozenset({Scope.ADMIN})),
            "both": ApiKey("both", frozenset(Scope)),
        }
        self.asked: list[str] = []

    def find(self, secret: str) -> ApiKey | None:
        self.asked.append(secret)
        return self.known.get(secret)


@pytest.fixture
def keys() -> FixedKeys:
    return FixedKeys()


@pytest.fixture
def server(tmp_path, keys) -> ToyServer:
    return toy_server(tmp_path, keys=keys)


def auth(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def as_(client: TestClient, secret: str) -> TestClient:
    client.headers.update(auth(secret))
    return client


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of everything that the application answers, the OpenAPI document included."""
    return [
        (method, route.path or "")
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
    ]


def call(client: TestClient, method: str, path: str, secret: str | None):
    concrete = path.replace("{video}", f"video_{'0' * 32}").replace("{motion}", "nobody")
    headers = {} if secret is None else auth(secret)
    return client.request(method, concrete, headers=headers, json={"prompt": "x"})


def test_the_matrix(client):
    """Every route for nobody, for an unknown key and for each scope."""
    routes = routes_of(client.app)
    assert len(routes) >= 20
    for method, path in routes:
        place = f"{method} {path}"
        if path in OPEN:
            assert call(client, method, path, None).status_code < 400 or "ready" in path, place
            continue
        for stranger in (None, "mallory", ""):
            answer = call(client, method, path, stranger)
            assert answer.status_code == 401, place
            assert answer.headers["WWW-Authenticate"] == "Bearer", place
        needs_admin, any_key = (method, path) in ADMIN, (method, path) in ANY
        documented = path.startswith("/openapi")
        for secret in ("alice", "admin", "both"):
            answer = call(client, method, path, secret)
            may = any_key or documented or secret == "both" or needs_admin == (secret == "admin")
            assert (answer.status_code == 403) is not may, f"{place} for {secret}"
            assert answer.status_code < 500, place


def test_only_what_is_meant_to_be_is_open():
    assert {"/", "/health/live", "/health/ready"} == OPEN


def test_what_does_not_exist_needs_a_key_as_well(client):
    assert client.get("/v2/anything").status_code == 401
    assert client.get("/health/livex").status_code == 401
    assert client.get("/health/live/").status_code == 401
    assert client.get("/v2/anything", headers=auth("alice")).status_code == 404


@pytest.mark.parametrize(
    "header",
    ["alice", "Basic alice", "Bearer", "Bearer  ", "Bearer alice bob", "bearer\talice", "x" * 9000],
)
def test_headers_that_are_no_key(client, header):
    answer = client.get("/v1/models", headers={"Authorization": header})
    assert error(answer)[:2] == (401, "invalid_api_key")


def test_two_keys_are_none(client):
    headers = [("Authorization", "Bearer alice"), ("Authorization", "Bearer bob")]
    assert client.get("/v1/models", headers=headers).status_code == 401


def test_a_key_does_not_come_from_the_address(client):
    for query in ("?api_key=alice", "?key=alice", "?authorization=Bearer%20alice"):
        assert client.get(f"/v1/models{query}").status_code == 401


def test_without_a_key_nothing_of_the_body_is_read(client):
    answer = client.post("/v1/videos", content=b"x" * 10**6)
    assert answer.status_code == 401  # and not 413


def test_a_long_header_is_not_even_looked_up(client, keys):
    client.get("/v1/models", headers=auth("x" * 5000))
    assert keys.asked == []


# --- of each other --------------------------------------------------------------------------------


def test_nobody_sees_or_touches_what_is_somebody_elses(client):
    video = post(as_(client, "alice"), wait=20).json()["id"]
    paths = [
        ("GET", f"/v1/videos/{video}"),
        ("GET", f"/v1/videos/{video}/content"),
        ("HEAD", f"/v1/videos/{video}/content"),
        ("GET", f"/v1/videos/{video}/events"),
        ("POST", f"/v1/videos/{video}/cancel"),
        ("DELETE", f"/v1/videos/{video}"),
        ("GET", f"/v1/videos?after={video}"),
    ]
    for other in ("bob", "both"):
        as_(client, other)
        for method, path in paths:
            answer = client.request(method, path)
            assert answer.status_code == 404, (method, path)
        assert client.get("/v1/videos").json()["data"] == []
    assert as_(client, "alice").get(f"/v1/videos/{video}").json()["status"] == "completed"


def test_the_same_idempotency_key_of_two_people_is_two_jobs(client):
    one = post(as_(client, "alice"), key="k").json()["id"]
    two = post(as_(client, "bob"), key="k").json()["id"]
    assert one != two


def test_limits_of_a_key(client, server):
    server.engine.go_on.clear()
    as_(client, "bob")
    assert post(client).status_code == 202
    answer = post(client)
    assert error(answer)[:2] == (429, "quota_exceeded") and "Retry-After" in answer.headers
    assert post(as_(client, "alice")).status_code == 202


def test_nobody_takes_the_seats_of_all(client, server):
    server.engine.go_on.clear()
    client.app.state.context.waiting.each = 0
    answer = sync(as_(client, "alice"))
    assert error(answer)[:2] == (429, "quota_exceeded") and "Retry-After" in answer.headers
    client.app.state.context.waiting.each = 1
    server.engine.go_on.set()
    with client.app.state.context.waiting.taken("bob"):
        assert sync(as_(client, "alice")).status_code == 200
        assert error(sync(as_(client, "bob")))[0] == 429


# --- keys in a file -------------------------------------------------------------------------------


def test_a_revoked_key_is_worthless_at_once(tmp_path):
    path = tmp_path / "keys.json"
    secret = create_key(path, "alice", frozenset({Scope.GENERATE}), KeyLimits())
    server = toy_server(tmp_path / "server", keys=ApiKeys.load(path))
    with TestClient(create_app(server.config, server.services), base_url=URL) as client:
        assert client.get("/v1/models", headers=auth(secret)).status_code == 200
        revoke_key(path, "alice")
        assert client.get("/v1/models", headers=auth(secret)).status_code == 401


def test_keys_that_cannot_be_read_let_nobody_in(client, keys, monkeypatch):
    def broken(secret: str) -> None:
        raise KeysError("/etc/keys.json", "cannot be read: permission denied")

    monkeypatch.setattr(keys, "find", broken)
    answer = client.get("/v1/models", headers=auth("alice"))
    assert error(answer)[0] == 503 and "/etc" not in answer.text
    assert client.get("/health/live").status_code == 200


# --- the log --------------------------------------------------------------------------------------


def test_a_line_for_every_request_and_no_secret_in_any(client, caplog):
    with caplog.at_level(logging.INFO, "motion_ray.access"):
        client.get("/v1/models?key=hidden", headers=auth("alice") | {"X-Request-Id": "abc-1"})
        client.get("/v1/models", headers=auth("mallory"))
        client.get("/v1/a%0Ab", headers=auth("alice") | {"X-Request-Id": 'x" evil'})
    texts = [JsonLines().format(record) for record in caplog.records]
    lines = [json.loads(text) for text in texts]
    assert [(line["client"], line["status"]) for line in lines] == [
        ("alice", 200),
        ("", 401),
        ("alice", 404),
    ]
    assert lines[0]["request_id"] == "abc-1" and lines[0]["path"] == "/v1/models"
    assert len(lines[2]["request_id"]) == 16
    for secret in ("hidden", "mallory", "evil", "Bearer"):
        assert not any(secret in text for text in texts)
    assert not any("\n" in text for text in texts) and lines[2]["path"] == "/v1/a\nb"


def test_the_line_of_a_request_names_the_job_that_it_made(client, caplog):
    with caplog.at_level(logging.INFO, "motion_ray.access"):
        made = client.post("/v1/videos", json={"prompt": "x"}, headers=auth("alice")).json()["id"]
        sync = client.post("/v1/videos/sync", json={"prompt": "x"}, headers=auth("alice"))
        client.get("/v1/videos", headers=auth("alice"))
    jobs = [json.loads(JsonLines().format(record))["job"] for record in caplog.records]
    assert jobs == [made, sync.headers["X-Video-Id"], None]


def test_the_id_of_a_request_comes_back(client):
    assert (
        client.get("/health/live", headers={"X-Request-Id": "a.b-c_9"}).headers["X-Request-Id"]
        == "a.b-c_9"
    )
    for odd in ("", "a b", "x" * 65, "é"):
        answer = client.get("/health/live", headers={"X-Request-Id": odd.encode()})
        assert len(answer.headers["X-Request-Id"]) == 16


def test_every_answer_has_the_headers_that_keep_browsers_out(client):
    for answer in (
        client.get("/health/live"),
        client.get("/v1/models"),
        client.get("/nowhere", headers=auth("alice")),
        client.get("/health/live", headers={"Host": "evil.example"}),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"


def test_the_document_says_which_routes_need_which_scope(client):
    document = as_(client, "alice").get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in OPEN:
                assert "security" not in operation
                continue
            [requirement] = operation["security"]
            key = (method.upper(), path)
            scopes = ["admin"] if key in ADMIN else [] if key in ANY else ["generate"]
            assert requirement == {"ApiKey": scopes}, key
            assert {"401", "403", "429", "503"} <= set(operation["responses"])
