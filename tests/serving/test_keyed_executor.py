"""Work that waits holds up what has its key, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from motion_ray.serving.keyed_executor import KeyedExecutor, Wait
from tests.waiting import PATIENCE, until


@pytest.fixture
def executor() -> Iterator[KeyedExecutor]:
    executor = KeyedExecutor("test")
    yield executor
    executor.close()


class Diary:
    """What was done, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def note(self, entry: str) -> Callable[[], None]:
        return lambda: self.done.append(entry)

    def waits(self, entry: str, for_: threading.Event) -> Callable[[], Wait]:
        def rest() -> None:
            assert for_.wait(PATIENCE)
            self.done.append(f"{entry} ended")

        def begin() -> Wait:
            self.done.append(entry)
            return rest

        return begin


def test_only_work_with_its_key_stays_behind_what_waits(executor):
    diary, first, second = Diary(), threading.Event(), threading.Event()
    executor.submit("a", diary.waits("a1", first))
    executor.submit("a", diary.note("a2"))
    executor.submit("b", diary.note("b1"))
    executor.submit("a", diary.waits("a3", second))
    executor.submit("a", diary.note("a4"))
    executor.submit("b", diary.note("b2"))
    until(lambda: "b2" in diary.done)
    assert diary.done == ["a1", "b1", "b2"]
    first.set()
    until(lambda: "a3" in diary.done)
    executor.submit("a", diary.note("a5"))
    executor.submit("b", diary.note("b3"))
    until(lambda: "b3" in diary.done)
    second.set()
    until(lambda: "a5" in diary.done)
    assert diary.done[3:] == ["a1 ended", "a2", "a3", "b3", "a3 ended", "a4", "a5"]


def test_work_taken_on_while_what_waits_ends_stays_in_order(executor):
    """The thread is busy at that moment: what stayed behind comes before what came later."""
    diary, go, busy = Diary(), threading.Event(), threading.Event()
    executor.submit("a", diary.waits("a1", go))
    executor.submit("a", diary.note("a2"))

    def hold_up() -> None:
        diary.done.append("b")
        assert busy.wait(PATIENCE)

    executor.submit("b", hold_up)
    until(lambda: "b" in diary.done)
    executor.submit("a", diary.note("a3"))
    go.set()
    until(lambda: "a1 ended" in diary.done)
    executor.submit("a", diary.note("a4"))
    busy.set()
    until(lambda: "a4" in diary.done)
    assert diary.done == ["a1", "b", "a1 ended", "a2", "a3", "a4"]


def test_several_keys_wait_at_once(executor):
    diary, go = Diary(), threading.Event()
    for key in "abcdefgh":
        executor.submit(key, diary.waits(key, go))
    until(lambda: len(diary.done) == 8)
    go.set()
    until(lambda: len(diary.done) == 16)


def test_work_that_fails_holds_up_nothing(executor, caplog):
    diary = Diary()

    def broken() -> None:
        raise KeyError("oops")

    executor.submit("a", broken)
    executor.submit("a", lambda: broken)
    executor.submit("a", diary.note("a3"))
    until(lambda: diary.done == ["a3"])
    assert "work on a failed" in caplog.text and "waiting for a failed" in caplog.text


def test_without_another_thread_it_waits_in_its_own(executor, monkeypatch):
    diary, go = Diary(), threading.Event()
    go.set()
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name.endswith("-wait"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    executor.submit("a", diary.waits("a1", go))
    executor.submit("a", diary.note("a2"))
    until(lambda: "a2" in diary.done)
    assert diary.done == ["a1", "a1 ended", "a2"]


def test_a_closed_one_drops_what_has_not_begun(executor):
    diary, go = Diary(), threading.Event()
    executor.submit("a", diary.waits("a1", go))
    executor.submit("a", diary.note("a2"))
    executor.submit("b", diary.note("b1"))
    until(lambda: "b1" in diary.done)
    executor.close()
    with pytest.raises(RuntimeError):
        executor.submit("c", diary.note("c1"))
    go.set()
    until(lambda: "a1 ended" in diary.done)
    assert "a2" not in diary.done
