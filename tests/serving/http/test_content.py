"""The video: whole, in ranges, only if it changed; and at once, for as long as somebody waits."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import threading

import pytest
from starlette.testclient import TestClient

from motion_ray.errors import QuotaError
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.content import CLIENT_LEFT
from motion_ray.serving.jobs import AdmissionLimits, Created, JobState, NewJob
from tests.serving.http.calls import error, post, raw, running, sync
from tests.serving.http.toy_server import CRASHES


@pytest.fixture
def video(client) -> str:
    return post(client, wait=20).json()["id"]


@pytest.fixture
def content(client, video, server) -> bytes:
    return server.results.path(f"{video}.1.mp4").read_bytes()


def get(client, video: str, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(f"/v1/videos/{video}/content", headers=named)


def test_the_whole_video(client, video, content):
    answer = get(client, video)
    assert answer.status_code == 200 and answer.content == content
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert (
        answer.headers["X-Seed"] == "7" and "denoise;dur=200.0" in answer.headers["Server-Timing"]
    )


def test_its_length_alone(client, video, content):
    answer = client.head(f"/v1/videos/{video}/content")
    assert answer.status_code == 200 and answer.content == b""
    assert int(answer.headers["Content-Length"]) == len(content)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-999999999", slice(5, None)),
        ("bytes=-999999999", slice(0, None)),
    ],
)
def test_a_range(client, video, content, wanted, expected):
    answer = get(client, video, Range=wanted)
    assert answer.status_code == 206 and answer.content == content[expected]
    start = len(content[: expected.start]) if expected.start else 0
    span = f"bytes {start}-{start + len(answer.content) - 1}/{len(content)}"
    assert answer.headers["Content-Range"] == span


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=",
        "bytes=-",
        "bytes=9-3",
        "bytes=a-b",
        "frames=0-1",
        "bytes=0-1,4-5",
        "bytes=--1",
        "x",
    ],
)
def test_ranges_that_are_none_give_the_whole_video(client, video, content, wanted):
    answer = get(client, video, Range=wanted)
    assert answer.status_code == 200 and answer.content == content


@pytest.mark.parametrize("wanted", ["bytes=1000000-", "bytes=1000000-1000001", "bytes=-0"])
def test_a_range_outside(client, video, content, wanted):
    answer = get(client, video, Range=wanted)
    assert error(answer) == (416, "range_not_satisfiable", "Range")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_a_range_only_of_the_same_video(client, video, content):
    tag = get(client, video).headers["ETag"]
    assert get(client, video, Range="bytes=0-3", If_Range=tag).content == content[:4]
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert get(client, video, Range="bytes=0-3", If_Range=other).content == content


def test_only_if_it_changed(client, video, content):
    tag = get(client, video).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = get(client, video, If_None_Match=known)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
    assert get(client, video, If_None_Match='"other"').content == content


def test_before_it_is_there(client, server):
    server.engine.go_on.clear()
    running = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    queued = post(client).json()["id"]
    for job in (running, queued):
        answer = get(client, job)
        assert error(answer) == (409, "video_not_ready", None)
        assert answer.headers["Retry-After"] == "1"


def test_a_file_that_is_gone_counts_as_expired(client, server, video):
    server.results.remove(f"{video}.1.mp4")
    assert error(get(client, video)) == (410, "video_expired", None)


# --- in one request -------------------------------------------------------------------------------


def test_the_video_at_once(client, server):
    answer = sync(client)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "video/mp4"
    assert answer.content == get(client, answer.headers["X-Video-Id"]).content
    assert answer.headers["X-Seed"] == "3"


def test_what_becomes_of_the_job_is_the_answer(client, server):
    assert error(sync(client, seed=CRASHES))[:2] == (500, "internal_error")
    server.engine.go_on.clear()
    assert error(sync(client, deadline_s=0.05))[:2] == (504, "deadline_exceeded")


def test_a_wait_that_is_too_long_names_the_job(server):
    config = server.config.model_copy(update={"sync_s": 0.1})
    server.engine.go_on.clear()
    with TestClient(create_app(config, server.services), base_url="http://localhost") as client:
        answer = sync(client)
        assert error(answer)[:2] == (504, "sync_timeout")
        job = answer.headers["Location"].rpartition("/")[2]
        server.engine.go_on.set()
        assert server.jobs.get(job).state in (JobState.RUNNING, JobState.SUCCEEDED)


@pytest.mark.parametrize("how", ["disconnect", "task cancelled"])
def test_who_leaves_stops_the_work(server, how):
    """Within one denoising step, whether the server says so or cancels what answers."""
    server.engine.go_on.clear()
    body = json.dumps({"prompt": "a robot", "num_inference_steps": 50}).encode()
    headers = {"Idempotency-Key": "k1"}

    async def leave() -> int | None:
        left = asyncio.Event()
        async with running(server.config, server.services) as app:
            call = asyncio.create_task(
                raw(app, "POST", "/v1/videos/sync", body, headers=headers, left=left)
            )
            await asyncio.to_thread(server.engine.entered.wait, 10)
            if how == "disconnect":
                left.set()
                status = (await call)[0]
            else:
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                status = None
            for _ in range(500):
                if server.jobs.running() == []:
                    break
                await asyncio.sleep(0.01)
        return status

    status = asyncio.run(leave())
    assert status == (CLIENT_LEFT if how == "disconnect" else None)
    [job] = server.jobs.page().jobs
    assert job.state is JobState.CANCELLED and server.engine.steps == 0
    # asked again with the same key, as after a lost answer: another job
    repeated = NewJob(job.client, job.request, "", idempotency_key="k1")
    assert server.jobs.known(repeated) is None


@pytest.mark.parametrize("refused", [False, True])
def test_who_leaves_while_a_job_is_accepted_leaves_none_behind(server, monkeypatch, refused):
    """Serve cancels what answers; the thread that stores the job goes on all the same."""
    create, storing, store = server.jobs.create, threading.Event(), threading.Event()

    def slow(new: NewJob, limits: AdmissionLimits) -> Created:
        storing.set()
        assert store.wait(20)
        if refused:
            raise QuotaError("your key", "has had enough")
        return create(new, limits)

    monkeypatch.setattr(server.jobs, "create", slow)
    server.engine.go_on.clear()

    async def leave() -> None:
        body = json.dumps({"prompt": "a robot"}).encode()
        async with running(server.config, server.services) as app:
            call = asyncio.create_task(raw(app, "POST", "/v1/videos/sync", body))
            assert await asyncio.to_thread(storing.wait, 20)
            call.cancel()
            await asyncio.sleep(0.05)
            assert not call.done() and app.state.context.waiting.count == 1
            store.set()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert app.state.context.waiting.count == 0

    asyncio.run(leave())
    states = [job.state for job in server.jobs.page().jobs]
    assert states == ([] if refused else [JobState.CANCELLED])
    assert server.engine.steps == 0


def test_who_leaves_an_older_job_does_not_stop_it(server):
    """The same key: somebody else may still wait for it."""
    server.engine.go_on.clear()
    body = json.dumps({"prompt": "a robot"}).encode()
    headers = {"Idempotency-Key": "k1"}

    async def leave() -> None:
        async with running(server.config, server.services) as app:
            await raw(app, "POST", "/v1/videos", body, headers=headers)
            await asyncio.to_thread(server.engine.entered.wait, 10)
            left = asyncio.Event()
            left.set()
            status, *_ = await raw(app, "POST", "/v1/videos/sync", body, headers=headers, left=left)
            assert status == CLIENT_LEFT
            server.engine.go_on.set()
            for _ in range(500):
                if server.jobs.running() == [] and server.jobs.queued() == []:
                    break
                await asyncio.sleep(0.01)

    asyncio.run(leave())
    [job] = server.jobs.page().jobs
    assert job.state is JobState.SUCCEEDED


def test_a_job_that_somebody_else_was_promised_goes_on_when_its_maker_leaves(server):
    server.engine.go_on.clear()
    body = json.dumps({"prompt": "a robot", "seed": 3}).encode()
    headers = {"Idempotency-Key": "k1"}

    async def leave() -> None:
        left = asyncio.Event()
        async with running(server.config, server.services) as app:
            ask = functools.partial(raw, app, "POST", body=body, headers=headers)
            maker = asyncio.create_task(ask("/v1/videos/sync", left=left))
            await asyncio.to_thread(server.engine.entered.wait, 10)
            assert (await ask("/v1/videos"))[0] == 202
            left.set()
            assert (await maker)[0] == CLIENT_LEFT
            server.engine.go_on.set()
            for _ in range(500):
                if server.jobs.running() == [] and server.jobs.queued() == []:
                    break
                await asyncio.sleep(0.01)
            assert app.state.context.promises._open == {} and not app.state.context.promises._made

    asyncio.run(leave())
    [job] = server.jobs.page().jobs
    assert job.state is JobState.SUCCEEDED


def test_who_joined_a_job_whose_maker_leaves_gets_another_one(server):
    """As a client does that asks again before its lost connection is noticed."""
    server.engine.go_on.clear()
    body = json.dumps({"prompt": "a robot", "seed": 3}).encode()
    headers = {"Idempotency-Key": "k1"}

    async def twice() -> int | None:
        left = asyncio.Event()
        async with running(server.config, server.services) as app:
            ask = functools.partial(raw, app, "POST", "/v1/videos/sync", body, headers=headers)
            maker = asyncio.create_task(ask(left=left))
            await asyncio.to_thread(server.engine.entered.wait, 10)
            joined = asyncio.create_task(ask())
            await asyncio.sleep(0.2)
            left.set()
            assert (await maker)[0] == CLIENT_LEFT
            server.engine.go_on.set()
            return (await joined)[0]

    assert asyncio.run(twice()) == 200
    states = sorted(job.state.value for job in server.jobs.page().jobs)
    assert states == ["cancelled", "succeeded"]
