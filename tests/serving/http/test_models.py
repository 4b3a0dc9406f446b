"""Models, health, and a backend that is not well."""

from __future__ import annotations

from dataclasses import replace

from starlette.testclient import TestClient

from motion_ray.errors import JobStoreError
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.local import LocalBackend
from tests.serving.http.calls import URL, error, post


def test_models_are_the_base_and_its_motions(client):
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [(each["id"], each["parent"]) for each in found["data"]] == [
        ("toy", None),
        ("toy:arms", "toy"),
        ("toy:hat", "toy"),
    ]


def test_health(client):
    assert client.get("/health/live").json() == {"status": "alive"}
    for _ in range(100):
        answer = client.get("/health/ready")
        if answer.status_code == 200:
            break
    assert answer.json() == {"status": "ready", "replicas": 1}


def test_a_base_that_cannot_generate_never_gets_ready(server, caplog):
    """It lives, and accepts jobs that another process may run."""

    def broken() -> None:
        raise RuntimeError("no kernel image")

    backend = LocalBackend(
        "toy-1", server.replica, server.pool, server.jobs, server.results, broken
    )
    services = replace(server.services, backend=backend)
    with TestClient(create_app(server.config, services), base_url=URL) as client:
        answer = client.get("/health/ready")
        assert error(answer)[:2] == (503, "not_ready") and "Retry-After" in answer.headers
        assert client.get("/health/live").status_code == 200
        assert post(client).status_code == 202
    assert "cannot generate" in caplog.text


def test_a_store_that_is_away_is_told_without_details(client, server, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise JobStoreError("/srv/jobs.sqlite", "cannot be used: disk I/O error")

    for method in ("queued", "create", "get", "page"):
        monkeypatch.setattr(server.jobs, method, broken)
    video = f"/v1/videos/video_{'0' * 32}"
    for answer in (
        client.get("/health/ready"),
        post(client),
        client.get(video),
        client.get("/v1/videos"),
        client.get(f"{video}/content"),
        client.get(f"{video}/events"),
    ):
        assert error(answer) == (503, "store_unavailable", None)
        assert "srv" not in answer.text and answer.headers["Retry-After"] == "5"


def test_jobs_are_handed_out_again_once_the_store_is_back(client, server, monkeypatch, caplog):
    queued = server.jobs.queued

    def broken(limit: int = 1000, *, due: bool = False) -> None:
        raise JobStoreError("/srv/jobs.sqlite", "cannot be used: disk I/O error")

    monkeypatch.setattr(server.jobs, "queued", broken)
    job = post(client, wait=1).json()
    assert job["status"] == "queued" and "cannot be handed out" in caplog.text
    monkeypatch.setattr(server.jobs, "queued", queued)
    assert post(client, wait=20, seed=9).json()["status"] == "completed"
    assert client.get(f"/v1/videos/{job['id']}").json()["status"] == "completed"
