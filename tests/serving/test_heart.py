"""Signs of life: what they cost, what they hear of, and that they end."""

from __future__ import annotations

import threading
import time
from typing import Any

from motion_ray.errors import JobStoreError
from motion_ray.serving import heart
from motion_ray.serving.jobs import Beat, Claim
from tests.serving.fake_engine import accept
from tests.waiting import until


class DeafStore:
    """A store that cannot be used, or is slow to answer."""

    def __init__(self) -> None:
        self.calls = 0
        self.broken = True

    def beat(self, claim, lease_s, done=0, total=0) -> Beat:
        return self.look(claim)

    def look(self, claim) -> Beat:
        self.calls += 1
        if self.broken:
            raise JobStoreError("jobs.sqlite", "cannot be used: disk I/O error")
        return Beat(True, False)


def test_a_store_that_is_away_for_a_moment_ends_nothing(store, monkeypatch):
    monkeypatch.setattr(heart, "LOOK_S", 0.01)
    deaf: Any = DeafStore()
    job = accept(store)
    with heart.Heart(deaf, job.claim, lease_s=100) as beats:
        until(lambda: deaf.calls >= 2)
        assert not beats.lost
        deaf.broken = False
        calls = deaf.calls
        until(lambda: deaf.calls > calls + 1)
        assert not beats.lost


def test_a_claim_that_could_not_be_renewed_in_its_time_is_lost(store):
    deaf: Any = DeafStore()
    with heart.Heart(deaf, accept(store).claim, lease_s=0.2) as beats:
        until(lambda: beats.lost)
        calls = deaf.calls
        time.sleep(0.2)
    assert deaf.calls == calls, "nobody asks for it any more"


def test_a_store_that_does_not_answer_keeps_nobody(store, monkeypatch):
    """Neither from giving up work that is for nobody, for good, nor from the next job."""
    monkeypatch.setattr(heart, "END_S", 0.1)
    job = store.start(accept(store).id, "one", 2)
    answers, asked = threading.Event(), threading.Event()

    def beat(*words) -> Beat:
        asked.set()
        answers.wait(60)
        return Beat(True, False)

    monkeypatch.setattr(store, "beat", beat)
    monkeypatch.setattr(store, "look", beat)
    with heart.Heart(store, job.claim, 2) as beating:
        assert asked.wait(20) and not beating.lost
        until(lambda: beating.lost)
    answers.set()
    beating._thread.join(20)
    assert not beating._thread.is_alive() and beating.lost


def test_a_claim_runs_from_when_it_was_asked_for(store):
    """Not from when the answer came."""
    job = store.start(accept(store).id, "one", 60)
    with heart.Heart(store, job.claim, 60, since=time.monotonic() - 61) as beating:
        assert beating.lost


def test_work_that_hangs_is_told_of_after_its_claim_is_lost(store, monkeypatch):
    """A database and a disk may go together."""
    monkeypatch.setattr(heart, "LOOK_S", 0.01)
    deaf: Any = DeafStore()
    told: list[str] = []
    with heart.Heart(deaf, accept(store).claim, 0.2, 4.0, lambda: told.append("hung")) as beating:
        until(lambda: beating.lost)
        assert not told
        until(lambda: bool(told))


def test_work_without_progress_is_left_to_others(store, monkeypatch, caplog):
    """The thread that does it may wait for a dead disk for ever; its heart beats on by itself."""
    monkeypatch.setattr(heart, "LOOK_S", 0.01)
    monkeypatch.setattr(heart, "PACE_S", 0.01)
    told: list[str] = []
    job = store.start(accept(store).id, "one", 0.3)
    with heart.Heart(store, job.claim, 0.3, 0.5, lambda: told.append("hung")) as beating:
        moving = time.monotonic()
        while time.monotonic() < moving + 1:  # twice as long as it may be still
            beating.moved()
            time.sleep(0.01)
        assert not beating.lost and not told
        until(lambda: beating.lost)
    assert told == ["hung"] and "no progress for 0.5 seconds" in caplog.text
    until(lambda: [each.id for each in store.recover()] == [job.id])


def test_progress_costs_one_write_a_second_and_a_look_costs_none(store, monkeypatch):
    monkeypatch.setattr(heart, "PACE_S", 0.01)
    beats, look, beat = [], store.look, store.beat
    looks: list[Any] = []
    monkeypatch.setattr(store, "beat", lambda *args: beats.append(args) or beat(*args))
    monkeypatch.setattr(store, "look", lambda *args: looks.append(args) or look(*args))
    job = store.start(accept(store).id, "one", 100)
    started = time.monotonic()
    with heart.Heart(store, job.claim, lease_s=100) as beating:
        beating.step(1, 30)
        until(lambda: bool(beats))
        for step in range(2, 31):
            time.sleep(0.04)
            asked = len(beats) + len(looks)
            beating.step(step, 30)
            until(lambda asked=asked: len(beats) + len(looks) > asked)
        until(lambda: beats[-1][2:] == (30, 30))
    # The first, the last, and one a second.
    assert 3 <= len(beats) <= 2 + time.monotonic() - started
    assert beats[0][2:] == (1, 30)
    with heart.Heart(store, job.claim, lease_s=100) as beating:
        store.cancel(job.id)
        until(lambda: beating.cancelling)


def test_the_end_is_heard_of_whenever_it_comes(monkeypatch):
    """Also just before the heart forgets what woke it."""
    monkeypatch.setattr(heart, "LOOK_S", 60)
    deaf: Any = DeafStore()
    beating = heart.Heart(deaf, Claim("job", "one", 1), lease_s=1000)

    class Racing(threading.Event):
        def clear(self) -> None:
            beating._stop.set()
            self.set()
            super().clear()

    beating._wake = Racing()
    beating._thread.start()
    beating.step(1, 2)
    beating._thread.join(20)
    assert not beating._thread.is_alive() and deaf.calls == 0
