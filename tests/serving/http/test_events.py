"""Server-sent events: in order, from real steps, again for who missed some, and never for ever."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from motion_ray.serving import heart
from tests.serving.http.calls import UNKNOWN, error, post, raw, running
from tests.serving.http.toy_server import CRASHES
from tests.waiting import until


def parsed(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Id, name and data of every event."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def events(client, video: str, after: int | None = None):
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return client.get(f"/v1/videos/{video}/events", headers=headers)


def test_events_of_a_job_from_acceptance_to_its_end(client, server, monkeypatch):
    monkeypatch.setattr(heart, "WRITE_S", 0.1)
    server.engine.step_s = 0.15  # so that every step is reported
    video = post(client).json()["id"]
    answer = events(client, video)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.text.startswith("retry: ")
    found = parsed(answer.text)
    names = [name for _, name, _ in found]
    assert names[:2] == ["queued", "in_progress"] and names[-1] == "completed"
    assert set(names[2:-1]) == {"progress"} and len(names) > 4
    ids = [each for each, _, _ in found]
    assert ids == sorted(set(ids))
    steps = [data["progress"] for _, name, data in found if name == "progress"]
    assert steps == sorted(steps) and set(steps) <= {25, 50, 75, 100}
    assert all(data["id"] == video for _, _, data in found)
    assert [d["status"] for _, n, d in found if n == "progress"] == ["in_progress"] * len(steps)
    assert found[-1][2]["progress"] == 100 and "timings" in found[-1][2]


def test_they_do_not_tell_about_our_machine(client, server):
    video = post(client, wait=20).json()["id"]
    assert "toy-1" not in events(client, video).text


def test_who_missed_some_gets_only_those(client):
    video = post(client, wait=20).json()["id"]
    everything = parsed(events(client, video).text)
    for index, (last, _, _) in enumerate(everything[:-1]):
        assert parsed(events(client, video, after=last).text) == everything[index + 1 :]


def test_who_has_seen_the_end_is_told_not_to_come_back(client):
    video = post(client, wait=20).json()["id"]
    last, _, _ = parsed(events(client, video).text)[-1]
    answer = events(client, video, after=last)
    assert (answer.status_code, answer.content) == (204, b"")


def test_an_id_beyond_all_events_counts_as_the_last_one(client, server):
    """Or no event would ever come after it, and the stream would hold its seat for ever."""
    server.engine.go_on.clear()
    video = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    streams: list[Any] = []
    thread = threading.Thread(target=lambda: streams.append(events(client, video, 10**17)))
    thread.start()
    until(lambda: client.app.state.context.waiting.count == 1)
    server.engine.go_on.set()
    thread.join(20)
    assert not thread.is_alive()
    found = parsed(streams[0].text)
    assert found[-1][1] == "completed" and "queued" not in [name for _, name, _ in found]
    assert events(client, video, 10**17).status_code == 204
    assert client.app.state.context.waiting.count == 0


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19])
def test_an_id_that_is_none(client, last):
    video = post(client, wait=20).json()["id"]
    answer = client.get(f"/v1/videos/{video}/events", headers={"Last-Event-ID": last})
    assert error(answer) == (422, "invalid_value", "last-event-id")


def test_the_end_of_a_job_that_fails_or_is_cancelled(client, server):
    failed = post(client, seed=CRASHES, wait=20).json()["id"]
    [*_, (_, name, data)] = parsed(events(client, failed).text)
    assert (name, data["code"]) == ("failed", "internal_error")
    assert "secret" not in data["message"]
    server.engine.go_on.clear()
    cancelled = post(client).json()["id"]
    client.post(f"/v1/videos/{cancelled}/cancel")
    [*_, (_, name, data)] = parsed(events(client, cancelled).text)
    assert (name, data["status"]) == ("cancelled", "cancelled")


def test_somebody_elses_events_are_not_found(client):
    assert error(events(client, UNKNOWN)) == (404, "video_not_found", None)


def test_too_many_streams_are_refused(client):
    video = post(client, wait=20).json()["id"]
    client.app.state.context.waiting.limit = 0
    answer = events(client, video)
    assert error(answer)[0] == 429 and "Retry-After" in answer.headers


def test_a_stream_shows_events_as_they_happen_and_signs_of_life_between(server):
    """Also: who leaves frees their seat."""
    config = server.config.model_copy(update={"heartbeat_s": 0.05})
    server.engine.go_on.clear()
    body = json.dumps({"prompt": "a robot"}).encode()

    async def follow() -> tuple[bytes, int]:
        async with running(config, server.services) as app:
            _, _, made = await raw(app, "POST", "/v1/videos", body)
            path = f"/v1/videos/{json.loads(made)['id']}/events"
            left = asyncio.Event()
            seen = bytearray()
            stream = asyncio.create_task(raw(app, "GET", path, left=left, seen=seen))
            for _ in range(500):
                if seen.count(b": still here") >= 2 and b"event: in_progress" in seen:
                    break
                await asyncio.sleep(0.01)
            assert app.state.context.waiting.count == 1
            left.set()
            await stream
            return bytes(seen), app.state.context.waiting.count

    seen, seats = asyncio.run(follow())
    server.engine.go_on.set()
    assert b"event: completed" not in seen and seen.count(b": still here") >= 2
    assert seats == 0


def test_a_stream_ends_when_its_job_is_removed(client, server):
    server.engine.go_on.clear()
    video = post(client).json()["id"]
    assert server.engine.entered.wait(10)
    streams: list[Any] = []
    thread = threading.Thread(target=lambda: streams.append(events(client, video)))
    thread.start()
    client.delete(f"/v1/videos/{video}")
    thread.join(20)
    assert not thread.is_alive()
    assert streams[0].status_code in (200, 410)
