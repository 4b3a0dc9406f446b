"""Motions over HTTP: what there is and where, loading and pinning, publishing and withdrawing."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from motion_ray.customization.delta import MotionDelta
from motion_ray.serving.http.app import create_app
from motion_ray.store import DeltaStore
from tests.serving.http.calls import URL, ended, error, post
from tests.serving.http.toy_server import toy_server
from tests.serving.toy import toy_delta


def files_of(delta: MotionDelta, folder: Path) -> list[tuple[str, tuple[str, bytes]]]:
    """The files of a delta, as a form has them."""
    delta.save(folder)
    return [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]


def upload(client, folder: Path, delta: MotionDelta, name: str = "legs"):
    return client.post("/v1/motions", data={"id": name}, files=files_of(delta, folder))


def ids(client, **query: Any) -> list[str]:
    return [each["id"] for each in client.get("/v1/motions", params=query).json()["data"]]


# --- looking --------------------------------------------------------------------------------------


def test_the_list_is_by_name_and_in_pages(client):
    assert ids(client) == ["arms", "hat"]
    assert ids(client, limit=1) == ["arms"]
    assert ids(client, after="arms") == ["hat"]
    assert client.get("/v1/motions", params={"limit": 1}).json()["has_more"] is True
    assert client.get("/v1/motions", params={"after": "hat"}).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_one_motion(client, server):
    server.deltas.publish(toy_delta(3), "arms")
    motion = client.get("/v1/motions/arms").json()
    assert (motion["version"], motion["versions"]) == (2, [1, 2])
    assert motion["token"] == "pll" and motion["base"] == "toy" and motion["served"] is True
    assert motion["sha256"] == toy_delta(3).sha256 and motion["bytes"] == toy_delta(3).nbytes
    assert motion["residency"] == []


def test_a_motion_of_another_base_is_shown_and_not_served(client, server):
    server.deltas.publish(toy_delta(5, base_fingerprint="other" * 8), "foreign")
    assert client.get("/v1/motions/foreign").json()["served"] is False
    models = [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert models == ["toy", "toy:arms", "toy:hat"]
    assert error(post(client, motions=[{"id": "foreign"}]))[:2] == (422, "motion_incompatible")


@pytest.mark.parametrize("name", ["nobody", "Arms", "-x", "a" * 64, "%2e%2e", "arms@1", "a b"])
def test_names_that_are_none(client, name):
    answer = client.get(f"/v1/motions/{name}")
    assert error(answer)[:2] in ((404, "motion_not_found"), (422, "invalid_value"))


def test_a_model_of_the_list_can_be_asked_for(client):
    video = post(client, wait=20, model="toy:arms").json()
    assert video["motions"] == [{"id": "arms", "version": 1, "weight": 1.0}]


# --- in memory ------------------------------------------------------------------------------------


def test_loading_pinning_and_unloading(client):
    loaded = client.post("/v1/motions/arms/load", json={"place": "host"}).json()
    expected = {"version": 1, "replica": "toy-1", "place": "host", "pinned": False}
    assert loaded["residency"] == [expected]
    pinned = client.post("/v1/motions/arms/pin").json()
    assert pinned["residency"] == [expected | {"place": "device", "pinned": True}]
    unpinned = client.post("/v1/motions/arms/pin", json={"pinned": False}).json()
    assert unpinned["residency"][0]["pinned"] is False
    answer = client.post("/v1/motions/arms/unload", json={"wait_s": 0}).json()
    assert answer == {"id": "arms", "object": "motion.unloaded", "version": 1, "unloaded": True}
    assert client.get("/v1/motions/arms").json()["residency"] == []


def test_orders_at_the_same_time_are_bounded(client):
    client.app.state.context.orders.limit = 0
    for order in ("load", "pin", "unload"):
        answer = client.post(f"/v1/motions/arms/{order}")
        assert error(answer)[0] == 429 and "Retry-After" in answer.headers


def test_what_is_in_use_is_not_unloaded(client, server):
    server.engine.go_on.clear()
    post(client)
    assert server.engine.entered.wait(10)
    answer = client.post("/v1/motions/arms/unload", json={"wait_s": 0}).json()
    assert answer["unloaded"] is False


@pytest.mark.parametrize("order", ["load", "pin", "unload"])
def test_orders_about_what_is_not_there(client, order):
    assert error(client.post(f"/v1/motions/nobody/{order}"))[:2] == (404, "motion_not_found")
    answer = client.post(f"/v1/motions/arms/{order}", json={"version": 9})
    assert error(answer)[:2] == (404, "motion_not_found")
    answer = client.post(f"/v1/motions/arms/{order}", json={"version": 0})
    assert error(answer) == (422, "invalid_value", "version")
    answer = client.post(f"/v1/motions/arms/{order}", json={"path": "/etc"})
    assert error(answer) == (422, "invalid_value", "path")


# --- publishing -----------------------------------------------------------------------------------


def test_an_uploaded_motion_is_used_at_once(client, tmp_path):
    answer = upload(client, tmp_path / "delta", toy_delta(7, token="rvk"))
    assert answer.status_code == 201
    assert (answer.json()["id"], answer.json()["version"]) == ("legs", 1)
    video = post(client, wait=20, prompt="a robot doing the rvk").json()
    assert video["motions"] == [{"id": "legs", "version": 1, "weight": 1.0}]
    again = upload(client, tmp_path / "again", toy_delta(7, token="rvk"))
    assert again.status_code == 201 and again.json()["versions"] == [1]


def test_what_is_published_is_checked_in_a_thread_that_ends(server, tmp_path, monkeypatch):
    """OpenMP keeps threads for each one that has computed and lives on."""
    threads: list[threading.Thread] = []
    check = MotionDelta.load

    def noted(folder: Path) -> MotionDelta:
        threads.append(threading.current_thread())
        return check(folder)

    monkeypatch.setattr(MotionDelta, "load", noted)
    config = server.config.model_copy(update={"sources": (f"{tmp_path}/allowed",)})
    server = toy_server(tmp_path / "other", config)
    toy_delta(6).save(tmp_path / "allowed" / "legs")
    with TestClient(create_app(config, server.services), base_url=URL) as client:
        assert upload(client, tmp_path / "d", toy_delta(5)).status_code == 201
        body = {"id": "feet", "source": f"{tmp_path}/allowed/legs"}
        assert client.post("/v1/motions", json=body).status_code == 201
    assert len(threads) == 2 and not any(thread.is_alive() for thread in threads)


def test_a_damaged_or_foreign_upload_publishes_nothing(client, server, tmp_path):
    other = toy_delta(8, base_fingerprint="other" * 8)
    assert error(upload(client, tmp_path / "a", other))[:2] == (422, "motion_incompatible")
    files = dict(pair for _, pair in files_of(toy_delta(9), tmp_path / "b"))
    tensors = next(name for name in files if name.endswith(".safetensors"))
    damaged = bytearray(files[tensors])
    damaged[-1] ^= 1
    parts = [("files", (n, bytes(damaged) if n == tensors else d)) for n, d in files.items()]
    answer = client.post("/v1/motions", data={"id": "legs"}, files=parts)
    assert error(answer)[:2] == (422, "motion_broken")
    assert str(tmp_path) not in answer.text and "/tmp" not in answer.text
    assert ids(client) == ["arms", "hat"]


def test_forms_that_are_no_upload(client, tmp_path):
    files = files_of(toy_delta(9), tmp_path / "delta")

    def refused(**form: Any) -> tuple[int, str, str | None]:
        return error(client.post("/v1/motions", **form))

    assert refused(data={"id": "legs"}, files=files[:2]) == (422, "invalid_value", "files")
    assert refused(data={"id": "../x"}, files=files) == (422, "invalid_value", "id")
    assert refused(files=files) == (422, "invalid_value", "id")
    assert refused(data={"id": ["legs", "arms"]}, files=files)[1] == "invalid_value"
    assert refused(data={"id": "legs"}, files=[*files, files[0]])[2] == "files"
    evil = [*files[:2], ("files", ("../../../etc/passwd", b"x"))]
    assert refused(data={"id": "legs"}, files=evil) == (422, "invalid_value", "files")
    many = [("files", (f"{number}", b"")) for number in range(20)]
    assert refused(data={"id": "legs"}, files=many)[0] == 400
    assert refused(content=b"x", headers={"Content-Type": "text/plain"})[2] == "Content-Type"
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(content=b"--y\r\nnothing", headers=broken)[0] in (400, 422)


def test_registering_from_an_allowed_place_alone(tmp_path):
    toy_delta(7).save(tmp_path / "shared" / "legs")
    toy_delta(8).save(tmp_path / "secret" / "legs")
    server = toy_server(tmp_path / "server")
    config = server.config.model_copy(update={"sources": (f"{tmp_path}/shared",)})
    server = toy_server(tmp_path / "server", config)
    with TestClient(create_app(config, server.services), base_url=URL) as client:
        place = {"id": "legs", "source": f"{tmp_path}/shared/legs"}
        assert client.post("/v1/motions", json=place).status_code == 201
        for elsewhere in ("secret/legs", "shared/../secret/legs", "shared"):
            place["source"] = f"{tmp_path}/{elsewhere}"
            assert error(client.post("/v1/motions", json=place))[0] == 422
        for wrong in ({"id": "legs"}, {"id": "LEGS", "source": "x"}, [], {"id": 1, "source": "x"}):
            assert error(client.post("/v1/motions", json=wrong))[:2] == (422, "invalid_value")
        answer = client.post(
            "/v1/motions", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert error(answer)[0] in (400, 422)
    assert [each.sha256 for each in DeltaStore(tmp_path / "server" / "motions").list()][-1] == (
        toy_delta(7).sha256
    )


def test_uploads_at_the_same_time_are_bounded(client, tmp_path):
    client.app.state.context.uploads.limit = 0
    assert error(upload(client, tmp_path / "delta", toy_delta(7)))[0] == 429


# --- withdrawing ----------------------------------------------------------------------------------


def test_a_withdrawn_motion_is_gone_at_once_and_from_memory(client, server):
    post(client, wait=20)
    assert client.get("/v1/motions/arms").json()["residency"] != []
    answer = client.delete("/v1/motions/arms")
    assert answer.json() == {
        "id": "arms",
        "object": "motion.deleted",
        "deleted": True,
        "versions": [1],
    }
    assert ids(client) == ["hat"]
    assert server.pool.residency() == {}
    assert error(client.get("/v1/motions/arms"))[:2] == (404, "motion_not_found")
    assert error(post(client))[:2] == (422, "unknown_token")
    assert error(client.delete("/v1/motions/arms"))[:2] == (404, "motion_not_found")


def test_one_version_is_withdrawn(client, server):
    server.deltas.publish(toy_delta(3), "arms")
    answer = client.delete("/v1/motions/arms", params={"version": 2})
    assert answer.json()["versions"] == [2]
    assert client.get("/v1/motions/arms").json()["versions"] == [1]


def test_a_motion_that_jobs_wait_for_stays_unless_forced(client, server):
    server.engine.go_on.clear()
    runs = post(client, prompt="a robot", motions=[]).json()["id"]
    assert server.engine.entered.wait(10)
    waits = post(client).json()["id"]
    answer = client.delete("/v1/motions/arms")
    assert error(answer) == (409, "motion_in_use", "force")
    assert waits in answer.json()["error"]["message"]
    assert client.delete("/v1/motions/hat").status_code == 200
    assert client.delete("/v1/motions/arms", params={"force": True}).status_code == 200
    server.engine.go_on.set()
    assert ended(client, runs)["status"] == "completed"
    failed = ended(client, waits)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "motion_not_found")


def test_the_openapi_document_says_what_an_upload_is(client):
    paths = client.get("/openapi.json").json()["paths"]
    content = paths["/v1/motions"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    upload = content["multipart/form-data"]
    assert json.dumps(upload["schema"]).count("safetensors") == 1
    assert len(upload["example"]["files"]) == 3
