"""The worker's thread: one job at a time, none suffers from another, all end when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from motion_ray.serving.scheduler import Cancelling, Scheduler, Stop, Ticket
from motion_ray.serving.worker import StopCheck, Worker


class Recorder:
    """Duties that take a given time in small steps and write down what happens."""

    def __init__(self, steps: int = 3, seconds: float = 0.002) -> None:
        self.steps, self.seconds = steps, seconds
        self.log: list[str] = []
        self.at_once = self.most_at_once = 0
        self.entered = threading.Event()
        self.broken: set[str] = set()
        self.unloadable: set[str] = set()
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

    def run(self, ticket: Ticket, stop: StopCheck) -> None:
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
                    return
                time.sleep(self.seconds)
            self.note(f"end {ticket.id}")
        finally:
            self.at_once -= 1

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
    worker = Worker(Scheduler(100, patience=1000), duties)
    yield worker
    worker.close(0)


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
    worker.submit(Ticket("long", "a", deadline=now + 0.3))
    worker.submit(Ticket("queued", "a", deadline=now + 0.1))
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
