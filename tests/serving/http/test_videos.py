"""Jobs over HTTP: from acceptance to the video, and every way that they end."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from motion_ray.serving.http.app import create_app
from motion_ray.serving.jobs import JobState
from tests.serving.http.calls import BODY, UNKNOWN, URL, ended, error, post, raw, running
from tests.serving.http.toy_server import CRASHES, ToyServer, toy_server
from tests.waiting import until

# --- accepting ------------------------------------------------------------------------------------


def test_a_job_is_accepted_at_once_and_stored_before_the_answer(client, server: ToyServer):
    server.engine.go_on.clear()
    answer = post(client)
    video = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/videos/{video['id']}"
    assert server.jobs.get(video["id"]).client == ""
    assert video["object"] == "video" and video["model"] == "toy" and video["seed"] == 7
    assert video["motions"] == [{"id": "arms", "version": 1, "weight": 1.0}]
    assert (video["size"], video["seconds"], video["num_frames"]) == ("64x64", "1", 8)
    assert video["status"] in ("queued", "in_progress") and video["error"] is None


def test_a_finished_video_tells_what_it_took(client):
    video = ended(client, post(client).json()["id"])
    assert (video["status"], video["progress"]) == ("completed", 100)
    assert set(video["timings"]) == {"queue", "load", "denoise", "decode", "encode"}
    assert video["created_at"] <= video["started_at"] <= video["completed_at"]
    assert video["expires_at"] == pytest.approx(video["completed_at"] + 86_400, abs=1)


def test_waiting_answers_when_it_has_ended(client):
    answer = post(client, wait=20)
    assert answer.status_code == 200 and answer.json()["status"] == "completed"
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_who_leaves_while_waiting_gives_back_the_seat_and_not_the_job(server):
    server.engine.go_on.clear()

    async def leave() -> int:
        async with running(server.config, server.services) as app:
            left = asyncio.Event()
            body, headers = json.dumps(BODY).encode(), {"Prefer": "wait=50"}
            wait = asyncio.create_task(
                raw(app, "POST", "/v1/videos", body, headers=headers, left=left)
            )
            await asyncio.to_thread(server.engine.entered.wait, 10)
            left.set()
            await asyncio.wait_for(wait, 10)
            [job] = server.jobs.running()
            assert not job.cancelling
            server.engine.go_on.set()
            return app.state.context.waiting.count

    assert asyncio.run(leave()) == 0


def test_waiting_ends_with_its_time(client, server):
    server.engine.go_on.clear()
    answer = client.post("/v1/videos", json=BODY, headers={"Prefer": "respond-async, wait=0"})
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "wait=0"


@pytest.mark.parametrize("prefer", ["wait", "wait=x", "wait=-1", "await=5", "handling=strict"])
def test_other_preferences_are_ignored(client, server, prefer):
    server.engine.go_on.clear()
    answer = client.post("/v1/videos", json=BODY, headers={"Prefer": prefer})
    assert answer.status_code == 202 and "Preference-Applied" not in answer.headers


def test_who_waits_has_his_place_in_line_shown(client, server):
    server.engine.go_on.clear()
    first = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    places = [post(client, seed=seed).json()["queue_position"] for seed in range(3)]
    assert places == [0, 1, 2]
    assert client.get(f"/v1/videos/{first}").json()["queue_position"] is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": ""}, (422, "invalid_value", "prompt")),
        ({"size": "7x"}, (422, "invalid_value", "size")),
        ({"size": "60x60"}, (422, "invalid_value", "size")),
        ({"seed": -1}, (422, "invalid_value", "seed")),
        ({"seed": 1.5}, (422, "invalid_value", "seed")),
        ({"status": "completed"}, (422, "invalid_value", "status")),
        ({"seconds": "nan"}, (422, "invalid_value", "seconds")),
        ({"num_frames": 65}, (413, "too_large", "num_frames")),
        ({"size": "1024x1024", "num_frames": 64}, (413, "too_large", "size")),
        ({"prompt": "a robot doing the xqz"}, (422, "unknown_token", "prompt")),
        ({"motions": [{"id": "nobody"}]}, (404, "motion_not_found", None)),
        ({"motions": [{"id": "../etc"}]}, (422, "invalid_value", "motions.0.id")),
        ({"motions": [{"id": "hat"}]}, (422, "token_not_in_prompt", "prompt")),
        ({"model": "other"}, (422, "invalid_value", "model")),
    ],
)
def test_what_is_wrong_is_named(client, server, fields, expected):
    assert error(post(client, **fields)) == expected
    assert server.jobs.page().jobs == ()


def test_an_unknown_token_lists_those_that_are_known(client):
    message = post(client, prompt="a robot doing the xqz").json()["error"]["message"]
    assert "pll" in message and "sks" in message


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"", "application/json", 422),
        (b"null", "application/json", 422),
        (b"prompt=x", "application/x-www-form-urlencoded", 422),
        (b'{"prompt": "x"}', "text/plain", 422),
        (b'{"prompt": "x", "seed": NaN}', "application/json", 422),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", "application/json", 400),
    ],
)
def test_bodies_that_are_none(client, content, kind, status):
    answer = client.post("/v1/videos", content=content, headers={"Content-Type": kind})
    assert error(answer)[0] == status


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_json_that_does_not_say_so_is_told_how(client, headers):
    answer = client.post("/v1/videos", content=b'{"prompt": "a robot"}', headers=headers)
    assert error(answer) == (422, "unsupported_media_type", "Content-Type")
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


# --- the same key ---------------------------------------------------------------------------------


def test_the_same_key_with_the_same_body_is_the_same_job(client, server):
    one, two = post(client, key="k1").json(), post(client, key="k1").json()
    assert one["id"] == two["id"] and len(server.jobs.page().jobs) == 1
    assert post(client, key="k2").json()["id"] != one["id"]


def test_the_same_key_finds_its_job_also_when_the_motion_is_gone(client):
    made = post(client, key="k1").json()["id"]
    ended(client, made)
    assert client.delete("/v1/motions/arms").status_code == 200
    assert error(post(client))[0] in (404, 422)
    assert post(client, key="k1").json()["id"] == made


def test_the_same_key_with_another_body_is_refused(client):
    post(client, key="k1")
    assert error(post(client, key="k1", seed=8)) == (409, "idempotency_conflict", None)


@pytest.mark.parametrize("key", ["", "with space", "x" * 201])
def test_a_key_is_plain(client, key):
    assert error(post(client, key=key)) == (422, "invalid_value", "idempotency-key")


# --- limits ---------------------------------------------------------------------------------------


def test_a_full_queue_says_when_to_ask_again(client, server, monkeypatch):
    here = client.app.state.context
    tight = here.config.model_copy(update={"queued": 1, "retry_after_s": 3.0})
    monkeypatch.setattr(client.app.state, "context", replace(here, config=tight))
    server.engine.go_on.clear()
    post(client)
    assert server.engine.entered.wait(10)
    assert post(client).status_code == 202
    answer = post(client)
    assert error(answer)[:2] == (429, "queue_full")
    assert answer.headers["Retry-After"] == "3"


def test_who_finds_no_seat_to_wait_in_gets_the_job_at_once(client, server):
    client.app.state.context.waiting.limit = 0
    server.engine.go_on.clear()
    answer = post(client, wait=30)
    assert answer.status_code == 202 and answer.json()["status"] in ("queued", "in_progress")
    assert len(client.get("/v1/videos").json()["data"]) == 1


# --- looking --------------------------------------------------------------------------------------


def test_a_list_in_pages_has_every_video_once(client):
    made = [post(client, seed=seed).json()["id"] for seed in range(5)]
    seen, after = [], None
    while True:
        query = {"limit": 2, "order": "asc"} | ({"after": after} if after else {})
        page = client.get("/v1/videos", params=query).json()
        assert page["object"] == "list" and len(page["data"]) <= 2
        seen += [video["id"] for video in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], seen[-1])
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == made
    newest = client.get("/v1/videos", params={"limit": 1}).json()["data"]
    assert [video["id"] for video in newest] == [made[-1]]


def test_an_empty_list(client):
    page = client.get("/v1/videos").json()
    assert page == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": 0}, (422, "invalid_value", "limit")),
        ({"limit": 101}, (422, "invalid_value", "limit")),
        ({"order": "sideways"}, (422, "invalid_value", "order")),
        ({"after": UNKNOWN}, (404, "video_not_found", None)),
        ({"after": "' OR 1=1"}, (404, "video_not_found", None)),
    ],
)
def test_lists_that_cannot_be_given(client, query, expected):
    assert error(client.get("/v1/videos", params=query)) == expected


@pytest.mark.parametrize("video", [UNKNOWN, "video_1", "x%00y", "..%2f..%2fetc%2fpasswd"])
@pytest.mark.parametrize("tail", ["", "/content", "/events"])
def test_what_does_not_exist_is_not_found(client, video, tail):
    answer = client.get(f"/v1/videos/{video}{tail}")
    assert answer.status_code == 404
    assert error(answer)[1] in ("video_not_found", "not_found")


# --- ending ---------------------------------------------------------------------------------------


def test_cancelling_stops_the_work_and_keeps_the_record(client, server):
    server.engine.go_on.clear()
    video = post(client, num_inference_steps=50).json()["id"]
    assert server.engine.entered.wait(10)
    answer = client.post(f"/v1/videos/{video}/cancel")
    assert answer.status_code == 200 and answer.json()["cancelling"]
    assert ended(client, video)["status"] == "cancelled"
    assert server.engine.steps <= 1 and server.results.names() == set()
    again = client.post(f"/v1/videos/{video}/cancel").json()
    assert (again["status"], again["cancelling"]) == ("cancelled", False)
    assert error(client.get(f"/v1/videos/{video}/content")) == (409, "cancelled", None)


def test_cancelling_what_has_ended_changes_nothing(client):
    video = post(client, wait=20).json()["id"]
    assert client.post(f"/v1/videos/{video}/cancel").json()["status"] == "completed"


def test_deleting_removes_job_and_video_and_can_be_repeated(client, server):
    video = post(client, wait=20).json()["id"]
    for _ in range(2):
        answer = client.delete(f"/v1/videos/{video}")
        assert answer.json() == {"id": video, "object": "video.deleted", "deleted": True}
    assert error(client.get(f"/v1/videos/{video}")) == (410, "video_expired", None)
    assert error(client.get(f"/v1/videos/{video}/content")) == (410, "video_expired", None)
    assert client.get("/v1/videos").json()["data"] == []
    until(lambda: not server.results.names())


def test_deleting_a_running_job_waits_until_it_has_stopped(client, server):
    server.engine.go_on.clear()
    video = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    assert client.delete(f"/v1/videos/{video}").status_code == 200
    assert server.jobs.running() == []


def test_deleting_what_never_was(client):
    assert error(client.delete(f"/v1/videos/{UNKNOWN}")) == (404, "video_not_found", None)


def test_a_bug_is_told_without_our_secrets(client, server):
    video = post(client, seed=CRASHES, wait=20).json()
    assert video["status"] == "failed" and video["error"]["code"] == "internal_error"
    assert "secret" not in str(video)
    answer = client.get(f"/v1/videos/{video['id']}/content")
    assert error(answer)[:2] == (409, "internal_error")


def test_a_deadline_that_passes(client, server):
    server.engine.go_on.clear()
    post(client)
    assert server.engine.entered.wait(10)
    late = post(client, deadline_s=0.05).json()["id"]
    found = ended(client, late)
    assert found["error"]["code"] == "deadline_exceeded" and found["started_at"] is None


def test_the_right_motion_makes_the_video(client):
    bodies = [{"motions": []}, {}, {"motions": [{"id": "arms", "weight": 0.5}]}]
    contents = []
    for body in bodies:
        video = post(client, wait=20, **body).json()
        contents.append(client.get(f"/v1/videos/{video['id']}/content").content)
    assert len({hashlib.sha256(each).hexdigest() for each in contents}) == 3


# --- after a restart ------------------------------------------------------------------------------


def test_jobs_that_an_earlier_process_accepted_are_run(server, tmp_path):
    server.engine.go_on.clear()
    with TestClient(create_app(server.config, server.services), base_url=URL) as first:
        accepted = [post(first, seed=seed).json()["id"] for seed in range(3)]
    assert [server.jobs.get(job).state for job in accepted] == [JobState.QUEUED] * 3
    later = toy_server(tmp_path)
    with TestClient(create_app(later.config, later.services), base_url=URL) as second:
        assert {ended(second, job)["status"] for job in accepted} == {"completed"}
