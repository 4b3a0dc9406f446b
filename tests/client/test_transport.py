"""When a request is sent again, when it is not, and how answers become errors."""

from __future__ import annotations

import email.utils
import io
import pickle
import time
from collections.abc import Callable, Sequence

import httpx2
import pytest

from motion_ray.client.client import Client
from motion_ray.client.faults import (
    AnswerError,
    ClientError,
    RefusedError,
    UnreachableError,
    VideoFailedError,
)
from motion_ray.client.transport import RetryPolicy, Transport
from motion_ray.client.values import VideoOrder

URL = "http://127.0.0.1:9"
Step = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Script:
    """A server that answers by a list, the last one for ever; and the pauses between."""

    def __init__(self, *steps: Step) -> None:
        self.steps, self.requests, self.pauses = list(steps), [], []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step(request) if callable(step) else step

    def transport(self, retry: RetryPolicy | None = None) -> Transport:
        retry = retry or RetryPolicy(draw=lambda: 1.0)
        mock = httpx2.MockTransport(self)
        return Transport(URL, "mr_x", retry=retry, transport=mock, sleep=self.pauses.append)


def refused(status: int, code: str = "c", param: str | None = None, **headers: str):
    error = {"message": "no", "type": "t", "param": param, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json={"error": error}, headers=named)


OK = httpx2.Response(200, json={"fine": True})


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_server_is_asked_again_after_the_time_it_names(status):
    script = Script(refused(status, Retry_After="7"), OK)
    assert script.transport().json("GET", "/x") == {"fine": True}
    assert script.pauses == [pytest.approx(7.7)]


def test_pauses_double_and_end():
    script = Script(refused(503))
    with pytest.raises(RefusedError) as caught:
        script.transport().json("GET", "/x")
    assert script.pauses == [0.5, 1, 2, 4, 8] and len(script.requests) == 6
    assert (caught.value.status, caught.value.code) == (503, "c")


def test_pauses_are_spread_so_that_clients_do_not_come_back_together():
    draws = iter([0.0, 0.5, 1.0])
    policy = RetryPolicy(draw=lambda: next(draws))
    assert [policy.pause(1, None) for _ in range(3)] == [0.25, 0.375, 0.5]


@pytest.mark.parametrize("wait", ["61", "86400", "inf"])
def test_nobody_waits_for_tomorrow(wait):
    script = Script(refused(429, "quota_exceeded", Retry_After=wait), OK)
    with pytest.raises(RefusedError) as caught:
        script.transport().json("GET", "/x")
    assert script.pauses == [] and caught.value.retry_after == float(wait)


def test_a_date_to_ask_again_is_understood():
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    script = Script(refused(503, Retry_After=date), OK)
    script.transport().json("GET", "/x")
    assert 18 < script.pauses[0] < 23


def test_a_senseless_time_is_as_none(caplog):
    script = Script(refused(503, Retry_After="soon"), OK)
    script.transport().json("GET", "/x")
    assert script.pauses == [0.5] and "neither seconds nor a date" in caplog.text


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 500, 504])
def test_what_asking_again_does_not_help_is_not_asked_again(status):
    script = Script(refused(status, "why", "size"), OK)
    with pytest.raises(RefusedError) as caught:
        script.transport().json("POST", "/x")
    fault = caught.value
    assert (fault.status, fault.code, fault.param, fault.where) == (status, "why", "size", "size")
    assert len(script.requests) == 1 and script.pauses == []


def test_a_server_that_restarts_is_waited_for():
    broken = httpx2.ConnectError("refused")
    script = Script(OK, broken, broken, httpx2.ReadError("reset"), OK)
    transport = script.transport()
    transport.json("GET", "/x")
    assert transport.json("GET", "/x") == {"fine": True}
    assert script.pauses == [0.5, 1, 2]


def test_a_server_that_never_was_is_soon_told():
    script = Script(httpx2.ConnectError("refused"))
    with pytest.raises(UnreachableError, match=r"no server answers: refused; start one"):
        script.transport().json("GET", "/x")
    assert script.pauses == [0.5]


def test_what_is_sent_again_is_the_same_with_the_same_key():
    video = {
        "id": "video_1", "status": "queued", "progress": 0, "prompt": "p", "size": "8x8",
        "seed": 1, "created_at": 1, "num_frames": 1, "fps": 8,
    }  # fmt: skip
    script = Script(httpx2.ReadError("lost"), refused(503), httpx2.Response(202, json=video))
    retry = RetryPolicy(first_s=0.0)
    client = Client(URL, retry=retry, transport=httpx2.MockTransport(script))
    assert client.create(VideoOrder("p")).id == "video_1"
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert len(keys) == 1 and len(keys.pop()) == 32
    assert {request.content for request in script.requests} == {
        b'{"prompt":"p","allow_missing_token":false}'
    }
    client.create(VideoOrder("p"))
    assert (
        script.requests[-1].headers["idempotency-key"]
        != script.requests[0].headers["idempotency-key"]
    )


def test_files_are_opened_anew_for_every_attempt():
    opened: list[io.BytesIO] = []

    def files() -> dict[str, io.BytesIO]:
        opened.append(io.BytesIO(b"content"))
        return {"a.txt": opened[-1]}

    script = Script(refused(503), OK)
    script.transport().json("POST", "/x", form={"id": "wave"}, files=files)
    assert len(opened) == 2 and all(stream.closed for stream in opened)
    for request in script.requests:
        assert b"content" in request.content and b'name="id"' in request.content


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>a router's page</html>"),
        httpx2.Response(404, text="not found"),
        httpx2.Response(301, headers={"Location": "https://elsewhere.example"}),
        httpx2.Response(500, json={"detail": "another framework"}),
        httpx2.Response(404, json=["a list"]),
    ],
)
def test_somebody_elses_server_is_recognized(answer):
    script = Script(answer)
    with pytest.raises(AnswerError, match="no server of motion_ray"):
        script.transport().json("GET", "/x")
    assert len(script.requests) == 1


def test_a_proxy_without_a_server_behind_it_is_asked_again():
    script = Script(httpx2.Response(502, text="<html>bad gateway</html>"), OK)
    assert script.transport().json("GET", "/x") == {"fine": True}


def test_the_key_goes_to_the_server_and_into_no_error():
    script = Script(refused(401))
    with pytest.raises(RefusedError, match="MOTION_RAY_API_KEY") as caught:
        script.transport().json("GET", "/x")
    assert script.requests[0].headers["authorization"] == "Bearer mr_x"
    assert "mr_x" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://a:b", "x" * 300]
)
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(ClientError, match="is no URL"):
        Transport(url, None)


@pytest.mark.parametrize("key", ["a b", "a\nb", "schlüssel"])
def test_what_cannot_be_a_key_is_said_without_showing_it(key):
    with pytest.raises(ClientError, match="has characters") as caught:
        Transport(URL, key)
    assert key not in str(caught.value)


def test_errors_cross_process_borders():
    for fault in (
        RefusedError("w", "r", "f", 429, "c", "p", 5.0),
        VideoFailedError("v", "r", "f", "cancelled"),
        UnreachableError("u", "r"),
    ):
        again = pickle_round(fault)
        assert type(again) is type(fault) and vars(again) == vars(fault)


def pickle_round(fault: Exception) -> Exception:
    kind, arguments = fault.__reduce__()[:2]
    assert pickle.dumps(fault)
    return kind(*arguments)


def lines(*events: tuple[int, str, str]) -> httpx2.Response:
    text = "".join(f"id: {i}\nevent: {kind}\ndata: {data}\n\n" for i, kind, data in events)
    return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def heard(script: Script, after: int = 0, attempts: int = 6) -> Sequence[tuple[int, str]]:
    retry = RetryPolicy(attempts=attempts, first_s=0.0)
    client = Client(URL, retry=retry, transport=httpx2.MockTransport(script))
    return [(event.id, event.kind) for event in client.events("video_1", after)]


class Breaking(httpx2.SyncByteStream):
    """A stream that breaks after some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self):
        yield self._data
        raise httpx2.ReadError("reset")


def test_events_go_on_where_the_connection_broke():
    kind = {"Content-Type": "text/event-stream"}
    half = b'id: 3\nevent: queued\ndata: {}\n\nid: 4\nevent: progress\ndata: {"prog'
    script = Script(
        httpx2.Response(200, stream=Breaking(half), headers=kind),
        httpx2.ConnectError("restarting"),
        refused(503),
        lines((4, "progress", '{"progress": 50}'), (9, "completed", "{}")),
    )
    assert heard(script) == [(3, "queued"), (4, "progress"), (9, "completed")]
    assert [r.headers["last-event-id"] for r in script.requests] == ["0", "3", "3", "3"]


def test_events_of_a_job_that_had_ended_are_none():
    video = {
        "id": "video_1", "status": "completed", "progress": 100, "prompt": "p", "size": "8x8",
        "seed": 1, "created_at": 1, "num_frames": 1, "fps": 8,
    }  # fmt: skip
    script = Script(httpx2.Response(204), httpx2.Response(200, json=video))
    assert heard(script, after=9) == []


def test_events_that_break_for_ever_are_an_error():
    def broken(request: httpx2.Request) -> httpx2.Response:
        kind = {"Content-Type": "text/event-stream"}
        return httpx2.Response(200, stream=Breaking(b": still here\n\n"), headers=kind)

    script = Script(broken)
    with pytest.raises(UnreachableError):
        heard(script, attempts=3)
    assert len(script.requests) == 3


@pytest.mark.parametrize("data", ["{", "[1, 2]", "7"])
def test_events_that_are_none_are_an_error(data):
    with pytest.raises(AnswerError):
        heard(Script(lines((1, "queued", data))))


@pytest.mark.parametrize("name", ["", "..", "."])
def test_an_id_cannot_be_another_address(name):
    with pytest.raises(ClientError, match="is no id"):
        Client(URL).video(name)


def test_ids_are_escaped():
    script = Script(refused(404))
    client = Client(URL, transport=httpx2.MockTransport(script))
    with pytest.raises(RefusedError):
        client.video("a/../../health?x#y")
    assert script.requests[0].url.raw_path == b"/v1/videos/a%2F..%2F..%2Fhealth%3Fx%23y"
