"""Videos are written beside the next generation, and nothing of a job is lost for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from motion_ray.serving.jobs import Beat, JobState
from motion_ray.serving.replica import SICK, Replica, ReplicaConfig
from motion_ray.serving.worker import STOP_S
from motion_ray.types import GeneratedVideo
from tests.serving.fake_engine import FakeEngine, accept, ended, write
from tests.waiting import until


class SlowDisk:
    """Writes when it may."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, path: Path, video: GeneratedVideo) -> None:
        self.begun.set()
        assert self.go_on.wait(20)
        write(path, video)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def slow(engine, store, results, disk) -> Iterator[Replica]:
    """A replica on a slow disk."""
    slow = Replica("slow", engine, store, results, disk.write, ReplicaConfig(lease_s=2.0))
    yield slow
    disk.go_on.set()
    engine.go_on.set()
    began = time.monotonic()
    slow.close(5)
    assert time.monotonic() - began < STOP_S, "its thread did not end"


def test_a_video_is_made_while_the_last_one_is_written(slow, store, engine, disk):
    first, second = accept(store), accept(store, steps=5)
    slow.submit(first)
    assert disk.begun.wait(20)
    slow.submit(second)
    until(lambda: engine.stepped == 5)
    assert store.get(first.id).state is JobState.RUNNING
    assert slow.jobs() == {first.id, second.id}
    disk.go_on.set()
    for job in (first, second):
        assert ended(store, job).state is JobState.SUCCEEDED
    until(lambda: not slow.jobs())


def test_the_claim_of_a_video_that_is_being_written_is_renewed(slow, store, disk):
    job = accept(store)
    slow.submit(job)
    assert disk.begun.wait(20)
    claimed_until = store.get(job.id).lease_until
    until(lambda: store.get(job.id).lease_until > claimed_until + 1)
    assert store.recover() == []
    disk.go_on.set()
    assert ended(store, job).state is JobState.SUCCEEDED


def test_a_video_that_was_cancelled_before_it_is_written_is_not(
    slow, store, results, disk, monkeypatch
):
    heard = threading.Event()
    beat = store.beat

    def beaten(*args) -> Beat:
        answer = beat(*args)
        if answer.cancelling:
            heard.set()
        return answer

    monkeypatch.setattr(store, "beat", beaten)
    first, second = accept(store), accept(store)
    slow.submit(first)
    assert disk.begun.wait(20)
    slow.submit(second)
    until(lambda: store.get(second.id).done == 3)  # made, and waits to be written
    assert store.cancel(second.id).cancelling
    assert heard.wait(20)
    time.sleep(0.05)
    disk.go_on.set()
    assert ended(store, second).state is JobState.CANCELLED
    assert ended(store, first).state is JobState.SUCCEEDED
    assert len(results.names()) == 1


def test_a_video_of_a_job_that_was_lost_is_written_before_anything_else_starts(
    slow, store, engine, disk
):
    """What came after it may have ended the process that was to write it."""
    again, after = accept(store), accept(store, steps=5)
    store.start(again.id, "gone", 0.01)
    until(lambda: bool(store.recover()))
    slow.submit(store.get(again.id))
    assert disk.begun.wait(20)
    slow.submit(after)
    time.sleep(0.1)
    assert store.get(after.id).attempt == 0
    disk.go_on.set()
    for job in (again, after):
        assert ended(store, job).state is JobState.SUCCEEDED


def test_closing_waits_for_a_video_that_is_being_written(slow, store, disk):
    job = accept(store)
    slow.submit(job)
    assert disk.begun.wait(20)
    threading.Timer(0.1, disk.go_on.set).start()
    slow.close(0)
    assert store.get(job.id).state is JobState.SUCCEEDED


def test_a_video_made_before_mistakes_does_not_make_up_for_them(slow, store, disk):
    earlier = accept(store)
    slow.submit(earlier)
    assert disk.begun.wait(20)
    for _ in range(SICK - 1):
        slow.submit(accept(store, seed=FakeEngine.CRASHES))
    until(lambda: slow.jobs() == {earlier.id})
    disk.go_on.set()
    until(lambda: not slow.jobs())
    assert store.get(earlier.id).state is JobState.SUCCEEDED and not slow.sick
    slow.submit(accept(store, seed=FakeEngine.CRASHES))
    until(lambda: slow.sick)


def test_a_video_made_after_mistakes_makes_up_for_them_before_it_is_written(slow, store, disk):
    bad = FakeEngine.CRASHES
    for seed in [*[bad] * (SICK - 1), 0, *[bad] * (SICK - 1)]:
        slow.submit(accept(store, seed=seed))
    until(lambda: disk.begun.is_set() and len(slow.jobs()) == 1)
    assert not slow.sick


def test_what_is_sick_stays_so(slow, store, disk):
    """The process is to be replaced, whatever becomes of a video that was made before."""
    earlier = accept(store)
    slow.submit(earlier)
    assert disk.begun.wait(20)
    for _ in range(SICK):
        slow.submit(accept(store, seed=FakeEngine.CRASHES))
    until(lambda: slow.sick)
    disk.go_on.set()
    until(lambda: not slow.jobs())
    assert store.get(earlier.id).state is JobState.SUCCEEDED and slow.sick
