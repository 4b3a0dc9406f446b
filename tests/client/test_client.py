"""The client and the server together, over sockets: what one promises the other keeps."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from motion_ray.client import (
    Client,
    ClientError,
    MotionChoice,
    RefusedError,
    Video,
    VideoEvent,
    VideoFailedError,
    VideoOrder,
)
from motion_ray.errors import StoreError
from motion_ray.serving.key_file import KeyLimits, Scope, create_key, revoke_key
from motion_ray.serving.keys import ApiKeys
from tests.client.conftest import Live, Serve
from tests.serving.http.toy_server import CRASHES
from tests.serving.toy import toy_delta
from tests.waiting import until

ORDER = VideoOrder("a red robot doing the pll", seed=7)


def test_a_video_is_made_watched_and_fetched(client: Client, live: Live, tmp_path: Path):
    live.toy.engine.step_s = 0.25  # steps that follow faster are told together
    events: list[VideoEvent] = []
    out = tmp_path / "new" / "robot.mp4"
    video = client.generate(ORDER, out, events.append)
    assert out.read_bytes().startswith(b"video of a red robot doing the pll")
    assert (video.status, video.progress, video.seed) == ("completed", 100, 7)
    assert [(each.id, each.version) for each in video.motions] == [("arms", 1)]
    assert set(video.timings) == {"queue", "load", "denoise", "decode", "encode"}
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["queued", "in_progress"] and kinds[-1] == "completed"
    shares = [event.data["progress"] for event in events if event.kind == "progress"]
    assert shares == sorted(shares) and len(shares) > 1
    assert [event.id for event in events] == sorted({event.id for event in events})


def test_every_field_of_an_order_arrives(client: Client):
    order = VideoOrder(
        prompt="a robot doing the pll with sks",
        motions=(MotionChoice("arms", 1, 0.5), MotionChoice("hat")),
        negative_prompt="a bear",
        size="32x40",
        num_frames=3,
        fps=6,
        num_inference_steps=2,
        guidance_scale=1.5,
        seed=11,
        deadline_s=60,
    )
    video = client.wait(client.create(order).id)
    assert (video.size, video.num_frames, video.fps, video.seed) == ("32x40", 3, 6, 11)
    assert [(each.id, each.version, each.weight) for each in video.motions] == [
        ("arms", 1, 0.5),
        ("hat", 1, 1.0),
    ]
    alone = client.create(VideoOrder("a robot", motions=(), seconds=0.5, model="toy"))
    assert alone.motions == () and alone.num_frames == 4


@pytest.mark.parametrize(
    ("order", "code", "param", "text"),
    [
        (VideoOrder("a robot doing the xqz"), "unknown_token", "prompt", "known tokens: pll"),
        (VideoOrder("a robot", size="9000x8"), "too_large", "size", "the limit is"),
        (VideoOrder("a robot", num_frames=0), "invalid_value", "num_frames", "greater than"),
        (VideoOrder("a robot", motions=(MotionChoice("no"),)), "motion_not_found", None, "no"),
    ],
)
def test_a_refusal_names_the_field(client: Client, order, code, param, text):
    with pytest.raises(RefusedError, match=text) as caught:
        client.create(order)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_the_same_key_twice_is_one_job_and_another_order_is_refused(client: Client):
    one, two = client.create(ORDER, "k"), client.create(ORDER, "k")
    assert one.id == two.id and len(list(client.videos())) == 1
    with pytest.raises(RefusedError) as caught:
        client.create(VideoOrder("a blue robot"), "k")
    assert caught.value.code == "idempotency_conflict"


def test_an_answer_that_is_lost_makes_no_second_job(live: Live):
    """The server accepts and the connection breaks before the answer: the client asks again."""
    import httpx2

    class LosesFirst(httpx2.HTTPTransport):
        lost = 0

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            response = super().handle_request(request)
            if request.method == "POST" and self.lost < 2:
                self.lost += 1
                response.close()
                raise httpx2.ReadError("reset", request=request)
            return response

    transport = LosesFirst()
    with live.client() as other, Client(live.url, transport=transport) as client:
        video = client.create(ORDER)
        assert transport.lost == 2
        assert [each.id for each in other.videos()] == [video.id]


def test_lists_are_read_page_by_page(client: Client, live: Live, monkeypatch):
    monkeypatch.setattr("motion_ray.client.client.PAGE", 2)
    made = [client.create(VideoOrder("a robot", motions=(), seed=seed)).id for seed in range(5)]
    assert [video.id for video in client.videos()] == made[::-1]
    assert [video.id for video in client.videos(3)] == made[:1:-1]
    assert [motion.id for motion in client.motions()] == ["arms", "hat"]


def test_a_list_goes_on_though_what_was_listed_is_deleted(client: Client, monkeypatch):
    monkeypatch.setattr("motion_ray.client.client.PAGE", 2)
    made = [client.create(VideoOrder("a robot", motions=(), seed=seed)).id for seed in range(5)]
    seen: list[str] = []
    for video in client.videos():
        client.delete(video.id)
        seen.append(video.id)
    assert seen == made[::-1] and list(client.videos()) == []


def test_a_cancelled_job_stops_and_says_so(client: Client, live: Live, tmp_path: Path):
    live.toy.engine.go_on.clear()
    video = client.create(ORDER)
    assert live.toy.engine.entered.wait(10)
    client.cancel(video.id)
    with pytest.raises(VideoFailedError, match="was cancelled") as caught:
        client.wait(video.id)
    assert caught.value.code == "cancelled" and live.toy.engine.steps <= 1
    with pytest.raises(RefusedError) as refused:
        client.download(video.id, tmp_path / "never.mp4")
    assert refused.value.code == "cancelled" and not (tmp_path / "never.mp4").exists()


def test_a_job_that_fails_says_why_and_nothing_else(client: Client):
    video = client.create(VideoOrder("a robot", motions=(), seed=CRASHES))
    with pytest.raises(VideoFailedError) as caught:
        client.wait(video.id)
    assert caught.value.code == "internal_error" and "secret" not in str(caught.value)
    found = client.video(video.id)
    assert found.error is not None and found.error.code == "internal_error"


def test_a_deleted_job_is_gone(client: Client):
    video = client.wait(client.create(ORDER).id)
    client.delete(video.id)
    client.delete(video.id)
    with pytest.raises(RefusedError) as caught:
        client.video(video.id)
    assert (caught.value.status, caught.value.code) == (410, "video_expired")


def test_events_can_be_taken_up_again(client: Client):
    video = client.wait(client.create(ORDER).id)
    whole = list(client.events(video.id))
    assert list(client.events(video.id, after=whole[2].id)) == whole[3:]
    assert list(client.events(video.id, after=whole[-1].id)) == []


def test_a_full_queue_is_waited_for(serve: Serve):
    live = serve(queued=1, retry_after_s=1)
    live.toy.engine.go_on.clear()
    with live.client() as client:
        client.create(ORDER)
        assert live.toy.engine.entered.wait(10)
        client.create(ORDER)
        made: list[Video] = []
        thread = threading.Thread(target=lambda: made.append(client.create(ORDER)))
        thread.start()
        time.sleep(0.3)
        assert made == []
        live.toy.engine.go_on.set()
        thread.join(20)
        assert len(made) == 1 and len(list(client.videos())) == 3


def test_a_job_outlives_a_restart_of_the_server_and_so_does_the_wait(serve: Serve, tmp_path: Path):
    from tests.client.conftest import listening
    from tests.serving.http.toy_server import toy_server

    folder = tmp_path / "restarting"
    outcome: list[Video] = []
    toy = toy_server(folder)
    toy.engine.go_on.clear()
    with listening(toy) as live:
        client = live.client()
        video = client.create(ORDER)
        assert toy.engine.entered.wait(10)
        seen: list[VideoEvent] = []
        waiting = threading.Thread(
            target=lambda: outcome.append(client.wait(video.id, seen.append))
        )
        waiting.start()
        until(lambda: seen)
        # Not let go of by the end of the context: the replica gives the running job back.
        toy.engine.go_on = threading.Event()
        port = live.port
    with listening(toy_server(folder), port):
        waiting.join(30)
        assert outcome and outcome[0].status == "completed"
        assert [event.id for event in seen] == sorted({event.id for event in seen})
        client.close()


# --- keys -----------------------------------------------------------------------------------------


def test_each_key_sees_its_own_and_does_what_it_is_for(serve: Serve, tmp_path: Path):
    path = tmp_path / "keys.json"
    ann = create_key(path, "ann", frozenset({Scope.GENERATE}), KeyLimits(jobs_a_day=1))
    bob = create_key(path, "bob", frozenset({Scope.GENERATE}), KeyLimits())
    root = create_key(path, "root", frozenset({Scope.ADMIN}), KeyLimits())
    live = serve(ApiKeys.load(path))
    with live.client() as nobody, pytest.raises(RefusedError, match="MOTION_RAY_API_KEY"):
        nobody.motions()
    with live.client(ann) as one, live.client(bob) as two, live.client(root) as admin:
        video = one.create(ORDER)
        for ask in (two.video, two.cancel, two.delete):
            with pytest.raises(RefusedError) as caught:
                ask(video.id)
            assert caught.value.status == 404
        with pytest.raises(RefusedError) as caught:
            one.create(ORDER)
        assert caught.value.code == "quota_exceeded"
        with pytest.raises(RefusedError) as caught:
            two.unload("arms")
        assert caught.value.status == 403
        with pytest.raises(RefusedError) as caught:
            admin.create(ORDER)
        assert caught.value.status == 403
        assert admin.unload("hat") is True
        revoke_key(path, "bob")
        with pytest.raises(RefusedError) as caught:
            two.motions()
        assert caught.value.status == 401


# --- motions --------------------------------------------------------------------------------------


def test_a_motion_is_published_used_and_withdrawn(client: Client, live: Live, tmp_path: Path):
    delta = toy_delta(9, token="zwx")
    delta.save(tmp_path / "delta")
    motion = client.publish(tmp_path / "delta", "jump")
    assert (motion.id, motion.version, motion.token) == ("jump", 1, "zwx")
    assert motion.sha256 == delta.sha256 and motion.served
    assert client.publish(tmp_path / "delta", "jump").version == 1
    video = client.wait(client.create(VideoOrder("a robot doing the zwx")).id)
    assert video.motions[0].id == "jump"
    assert client.load("jump").id == "jump" and client.pin("jump", 1).id == "jump"
    assert client.pin("jump", pinned=False).id == "jump" and client.unload("jump")
    client.withdraw("jump")
    with pytest.raises(RefusedError) as caught:
        client.motion("jump")
    assert caught.value.code == "motion_not_found"


def test_a_damaged_delta_is_not_even_sent(client: Client, live: Live, tmp_path: Path):
    toy_delta(9).save(tmp_path / "delta")
    file = tmp_path / "delta" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(ClientError, match="is damaged"):
        client.publish(tmp_path / "delta", "jump")
    with pytest.raises(ClientError):
        client.publish(tmp_path / "nothing", "jump")
    with pytest.raises(StoreError):
        live.toy.deltas.resolve("jump")


def test_a_motion_of_another_base_is_refused_by_the_server(client: Client, tmp_path: Path):
    toy_delta(9, base_fingerprint="f" * 64).save(tmp_path / "delta")
    with pytest.raises(RefusedError, match="does not fit the served base") as caught:
        client.publish(tmp_path / "delta", "jump")
    assert caught.value.code == "motion_incompatible"


def test_a_motion_is_registered_from_a_place_that_the_operator_names(serve: Serve, tmp_path: Path):
    toy_delta(9).save(tmp_path / "open" / "delta")
    toy_delta(9).save(tmp_path / "closed" / "delta")
    live = serve(sources=(f"{tmp_path / 'open'}",))
    with live.client() as client:
        assert client.register(f"{tmp_path}/open/delta", "jump").version == 1
        with pytest.raises(RefusedError, match="lies in no place") as caught:
            client.register(f"{tmp_path}/closed/delta", "jump")
        assert caught.value.param == "source"
