"""The worker's thread: one job at a time, none suffers from another, all end when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from motion_ray.serving.scheduler import FIRST_GUESS, Cancelling, Scheduler, Stop, Ticket
from motion_ray.serving.worker import STOP_S, Ending, StopCheck, Worker
from tests.waiting import until


class Recorder:
    """Duties that take a given time in small steps and write down what happens."""

    def __init__(self, steps: int = 3, seconds: float = 0.002) -> None:
        self.steps, self.seconds = steps, seconds
        self.log: list[str] = []
        self.at_once = self.most_at_once = 0
        self.entered = threading.Event()
        self.broken: set[str] = set()
        self.unloadable: set[str] = set()
        self.endings: set[str] = set()  # jobs that leave one
        self.broken_endings: set[str] = set()
        self.may_end = threading.Event()
        self.may_step = threading.Event()
        self.may_step.set()
        self.changed = threading.Condition()

    def note(self, what: str) -> None:
        with self.changed:
            self.log.append(what)
            self.changed.notify_all()

    def wait_for(self, *whats: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: set(whats) <= set(self.log), 20), self.log

    def run(self, ticket: Ticket, stop: StopCheck) -> Ending | None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.note(f"start {ticket.id}")
        self.entered.set()
        try:
            if ticket.id in self.broken:
                raise RuntimeError("broken")
            for _ in range(self.steps):
                assert self.may_step.wait(20)
                if (why := stop()) is not None:
                    self.note(f"{why} {ticket.id}")
                    return None
                time.sleep(self.seconds)
            self.note(f"end {ticket.id}")
        finally:
            self.at_once -= 1
        return (lambda: self.ending(ticket)) if ticket.id in self.endings else None

    def ending(self, ticket: Ticket) -> None:
        self.note(f"writing {ticket.id}")
        assert self.may_end.wait(20)
        if ticket.id in self.broken_endings:
            raise RuntimeError("the disk is gone")
        self.note(f"written {ticket.id}")

    def drop(self, ticket: Ticket) -> None:
        self.note(f"drop {ticket.id}")

    def coming(self, ticket: Ticket, *, next_up: bool) -> None:
        self.note(f"{'next' if next_up else 'coming'} {ticket.id}")
        if ticket.id in self.unloadable and next_up:
            raise RuntimeError("cannot be loaded ahead")


@pytest.fixture
def duties() -> Recorder:
    return Recorder()


@pytest.fixture
def worker(duties) -> Iterator[Worker]:
    worker = Worker(Scheduler(100, patience=1000), duties, ended=lambda: duties.note("told"))
    yield worker
    duties.may_end.set()
    began = time.monotonic()
    worker.close(0)
    assert time.monotonic() - began < STOP_S, "its thread did not end"


def test_jobs_run_one_at_a_time_and_the_next_is_loaded_ahead(duties, worker):
    for number in range(6):
        worker.submit(Ticket(f"{number}", "ab"[number % 2]))
    duties.wait_for(*(f"end {number}" for number in range(6)))
    assert duties.most_at_once == 1
    starts = [line.split()[1] for line in duties.log if line.startswith("start")]
    assert sorted(starts) == list("012345") and starts != list("012345")
    assert sum(line.startswith("coming") for line in duties.log) == 6
    ahead = [line for line in duties.log if line.startswith("next")]
    assert ahead
    for line in ahead:
        number = starts.index(line.split()[1])
        # while the one before it runs, and not before that has what it needs itself
        before, after = f"start {starts[number - 1]}", f"start {starts[number]}"
        assert duties.log.index(before) < duties.log.index(line) < duties.log.index(after)


def test_a_job_that_comes_while_another_runs_is_loaded_ahead_once(duties, worker):
    duties.steps = 100_000
    worker.submit(Ticket("long", "a"))
    assert duties.entered.wait(20)
    time.sleep(0.02)  # some steps
    worker.submit(Ticket("late", "b"))
    duties.wait_for("next late")
    worker.submit(Ticket("alike", "a"))  # of the motion that is loaded: it will be next instead
    duties.wait_for("next alike")
    assert "end long" not in duties.log
    duties.steps = 3  # of those that follow
    worker.cancel("long")
    duties.wait_for("end late", "end alike")
    ahead = [line for line in duties.log if line.startswith("next")]
    assert ahead[:2] == ["next late", "next alike"] and ahead.count("next alike") == 1


def test_a_job_that_breaks_does_not_stop_the_others(duties, worker, caplog):
    duties.broken.add("bad")
    for job in ("first", "bad", "good"):
        worker.submit(Ticket(job, "a"))
    duties.wait_for("end good")
    assert "could not run job bad" in caplog.text


def test_a_running_job_stops_within_one_step(duties, worker):
    duties.steps, duties.seconds = 10_000, 0.01
    worker.submit(Ticket("long", "a"))
    worker.submit(Ticket("queued", "a"))
    assert duties.entered.wait(20)
    assert worker.cancel("queued") is Cancelling.REMOVED
    assert worker.load()[0] == 0
    started = time.monotonic()
    assert worker.cancel("long") is Cancelling.STOPPING
    duties.wait_for("cancelled long")
    assert time.monotonic() - started < 5  # a step takes 0.01 s; the machine may be busy
    assert worker.cancel("long") is Cancelling.UNKNOWN
    assert "start queued" not in duties.log


def test_deadlines_are_seen_to_while_running_and_while_waiting(duties, worker):
    duties.steps, duties.seconds = 10_000, 0.01
    now = time.monotonic()
    worker.submit(Ticket("long", "a", deadline=now + 2))
    worker.submit(Ticket("queued", "a", deadline=now + 1.5))
    duties.wait_for("deadline_exceeded long", "drop queued")
    assert "start queued" not in duties.log


def test_closing_lets_the_running_job_end(duties):
    worker = Worker(Scheduler(100, patience=0), duties)
    duties.steps, duties.seconds = 10, 0.01
    for job in "abc":
        worker.submit(Ticket(job, "a"))
    assert duties.entered.wait(20)
    assert [ticket.id for ticket in worker.close(20)] == ["b", "c"]
    assert duties.log[-1] == "end a"
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(Ticket("d", "a"))


def test_closing_in_a_hurry_stops_the_running_job(duties):
    worker = Worker(Scheduler(100, patience=0), duties)
    duties.steps = 10_000
    worker.submit(Ticket("a", "a"))
    assert duties.entered.wait(20)
    worker.close(0.01)
    assert duties.log[-1] == f"{Stop.SHUTDOWN} a"


def test_what_cannot_be_loaded_ahead_runs_all_the_same(duties, worker, caplog):
    duties.may_step.clear()
    duties.unloadable.add("second")
    worker.submit(Ticket("first", "a"))
    assert duties.entered.wait(20)
    worker.submit(Ticket("second", "a"))
    duties.may_step.set()
    duties.wait_for("next second", "end first", "end second")
    assert "could not load ahead for job second" in caplog.text


def test_who_cannot_be_told_of_the_end_does_not_stop_the_others(duties, caplog):
    def broken() -> None:
        raise RuntimeError("the loop is closed")

    worker = Worker(Scheduler(100, patience=0), duties, ended=broken)
    for job in ("first", "second"):
        worker.submit(Ticket(job, "a"))
    duties.wait_for("end first", "end second")
    assert not worker.dead
    worker.close(20)
    assert not worker.dead and "could not tell of the end of job first" in caplog.text


def test_the_next_job_runs_while_the_last_one_is_written(duties, worker):
    duties.endings |= {"first"}
    for job in ("first", "second"):
        worker.submit(Ticket(job, "a"))
    duties.wait_for("writing first", "end second")
    until(lambda: worker.jobs() == {"first"})
    until(lambda: duties.log.count("told") == 2)  # the device was free, twice
    duties.may_end.set()
    duties.wait_for("written first")
    until(lambda: duties.log.count("told") == 3)
    assert not worker.jobs()
    assert duties.log.index("end second") < duties.log.index("written first")


def test_one_job_is_written_at_a_time_and_others_wait_for_it(duties, worker):
    duties.endings |= set("abc")
    for job in "abc":
        worker.submit(Ticket(job, "x"))
    duties.wait_for("writing a", "end b")
    time.sleep(0.05)
    assert worker.jobs() == set("abc")
    duties.may_end.set()
    duties.wait_for("written c")
    order = [line for line in duties.log if line.startswith("writ")]
    assert order == [f"{what} {job}" for job in "abc" for what in ("writing", "written")]
    assert duties.log.index("written a") < duties.log.index("start c")


def test_what_cannot_be_written_does_not_stop_the_others(duties, worker, caplog):
    duties.may_end.set()
    duties.endings |= {"bad", "good"}
    duties.broken_endings |= {"bad"}
    for job in ("bad", "good"):
        worker.submit(Ticket(job, "a"))
    duties.wait_for("written good")
    until(lambda: not worker.jobs())
    assert "could not end job bad" in caplog.text and not worker.dead


def test_closing_waits_for_what_is_being_written(duties, worker):
    duties.endings |= {"first"}
    worker.submit(Ticket("first", "a"))
    duties.wait_for("writing first")
    threading.Timer(0.1, duties.may_end.set).start()
    worker.close(20)
    assert "written first" in duties.log and not worker.jobs()


def test_without_more_threads_videos_are_written_all_the_same(duties, worker, monkeypatch):
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "ending":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    duties.endings |= {"first", "second"}
    duties.may_end.set()
    for job in ("first", "second"):
        worker.submit(Ticket(job, "a"))
    duties.wait_for("written second")
    assert duties.log.index("written first") < duties.log.index("start second")
    until(lambda: not worker.jobs())
    assert not worker.dead


def test_a_job_is_here_until_it_is_written(duties, worker):
    """Else the router would take it for ended, and tell its client so."""
    duties.endings |= {str(number) for number in range(30)}
    duties.may_end.set()
    duties.steps = 0
    for number in range(30):
        worker.submit(Ticket(str(number), "a"))

        def seen_to_its_end(number: int = number) -> bool:
            here = str(number) in worker.jobs()
            written = f"written {number}" in duties.log
            assert here or written
            return written

        until(seen_to_its_end, every=0.0005)


def test_what_made_no_video_does_not_tell_what_a_job_takes(duties, worker):
    duties.broken.add("bad")
    worker.submit(Ticket("bad", "a"))
    until(lambda: not worker.jobs())
    assert worker.job_s == FIRST_GUESS
    duties.endings.add("good")
    worker.submit(Ticket("good", "a"))
    until(lambda: worker.job_s < FIRST_GUESS / 2)
