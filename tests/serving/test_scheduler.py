"""The scheduler: grouping saves loads, and the bound of its docstring holds for any arrivals."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from motion_ray.errors import OverloadedError
from motion_ray.serving.scheduler import FIRST_GUESS, Cancelling, Scheduler, Stop, Ticket


def ticket(id: str, group: str = "a", client: str = "", deadline: float | None = None) -> Ticket:
    return Ticket(id, group, client, deadline)


def started(scheduler: Scheduler, now: float = 0.0) -> str | None:
    """Start the next job; its id."""
    chosen = scheduler.next(now).start
    return None if chosen is None else chosen.id


def order(scheduler: Scheduler, now: float = 0.0, seconds: float = 0.0) -> list[str]:
    """Run everything, each job for so long."""
    found = []
    while (job := started(scheduler, now)) is not None:
        found.append(job)
        now += seconds
        scheduler.finish(job, now)
    return found


# --- rules ----------------------------------------------------------------------------------------


def test_jobs_of_the_loaded_motion_go_first():
    scheduler = Scheduler(100, patience=1000)
    for number, group in enumerate("abacba"):
        scheduler.submit(ticket(f"{group}{number}", group), 0)
    assert order(scheduler) == ["a0", "a2", "a5", "b1", "b4", "c3"]


def test_without_patience_it_is_first_come_first_served():
    scheduler = Scheduler(100, patience=0)
    for number, group in enumerate("abacba"):
        scheduler.submit(ticket(f"{group}{number}", group), number)
    assert order(scheduler, 6) == ["a0", "b1", "a2", "c3", "b4", "a5"]


def test_patience_ends_the_preference():
    scheduler = Scheduler(100, patience=10)
    scheduler.submit(ticket("a0", "a"), 0)
    assert started(scheduler, 0) == "a0"
    scheduler.submit(ticket("b1", "b"), 1)
    scheduler.submit(ticket("a2", "a"), 2)
    scheduler.submit(ticket("a3", "a"), 3)
    scheduler.finish("a0", 4)
    assert started(scheduler, 4) == "a2"
    scheduler.finish("a2", 11)
    assert started(scheduler, 11) == "b1"


def test_clients_take_turns():
    scheduler = Scheduler(100, patience=0)
    for number in range(4):
        scheduler.submit(ticket(f"x{number}", client="x"), 0)
    for number in range(2):
        scheduler.submit(ticket(f"y{number}", client="y"), 1)
    assert order(scheduler, 1) == ["x0", "y0", "x1", "y1", "x2", "x3"]


def test_a_thousand_jobs_of_one_delay_another_by_one():
    """The other one starts within two service times."""
    scheduler = Scheduler(2000, patience=0)
    for number in range(1000):
        scheduler.submit(ticket(f"x{number}", client="x"), 0)
    assert started(scheduler, 0) == "x0"
    scheduler.submit(ticket("y", client="y"), 1)
    scheduler.finish("x0", 10)
    ran = [started(scheduler, 10)]
    scheduler.finish(str(ran[0]), 20)
    ran.append(started(scheduler, 20))
    assert "y" in ran


def test_an_endless_stream_of_one_motion_does_not_starve_another():
    scheduler = Scheduler(100, patience=30)
    scheduler.submit(ticket("hot0", "hot"), 0)
    assert started(scheduler, 0) == "hot0"
    scheduler.submit(ticket("cold", "cold"), 0)
    now = 0.0
    for number in range(1, 100):
        scheduler.submit(ticket(f"hot{number}", "hot"), now)
        now += 5
        scheduler.finish(f"hot{number - 1}", now)
        if started(scheduler, now) == "cold":
            break
    assert now == 30


# --- arrivals and departures ----------------------------------------------------------------------


def test_the_limit_is_exact_and_says_when_to_come_again():
    scheduler = Scheduler(2, patience=10)
    scheduler.submit(ticket("a"), 0)
    assert started(scheduler, 0) == "a"
    for job in "bc":
        scheduler.submit(ticket(job), 0)
    with pytest.raises(OverloadedError, match="2 jobs are queued, which is the limit") as caught:
        scheduler.submit(ticket("d"), 0)
    assert caught.value.retry_after == 10
    scheduler.finish("a", 4)
    assert started(scheduler, 4) == "b"
    scheduler.submit(ticket("d"), 4)
    assert scheduler.expected_wait() == pytest.approx(3 * 4)


def test_what_a_job_takes_is_a_mean_of_the_first_ones_and_follows_the_last_ones():
    scheduler, now = Scheduler(1, patience=10), 0
    means = []
    for seconds in (4, 2, 3, 3, 3, 13, 13):
        scheduler.submit(ticket("a"), now)
        started(scheduler, now)
        now += seconds
        scheduler.finish("a", now)
        means.append(scheduler.mean)
    assert means == pytest.approx([4, 3, 3, 3, 3, 5, 6.6])


def test_a_job_without_a_video_does_not_tell_what_one_takes():
    """Else a replica in which jobs crash at once would be the one to send jobs to."""
    scheduler = Scheduler(1, patience=10)
    scheduler.submit(ticket("a"), 0)
    started(scheduler, 0)
    scheduler.finish("a", 0.01, made=False)
    assert scheduler.mean == FIRST_GUESS


def test_a_job_is_queued_once():
    scheduler = Scheduler(10, patience=10)
    scheduler.submit(ticket("a"), 0)
    with pytest.raises(ValueError, match="here already"):
        scheduler.submit(ticket("a"), 0)
    started(scheduler)
    with pytest.raises(ValueError, match="here already"):
        scheduler.submit(ticket("a"), 0)
    scheduler.finish("a", 1)
    scheduler.submit(ticket("a"), 1)


def test_cancelling():
    scheduler = Scheduler(10, patience=10)
    scheduler.submit(ticket("a"), 0)
    scheduler.submit(ticket("b"), 0)
    assert started(scheduler) == "a"
    assert scheduler.must_stop("a", 0) is None
    assert scheduler.cancel("b") is Cancelling.REMOVED
    assert scheduler.cancel("b") is Cancelling.UNKNOWN
    assert scheduler.cancel("a") is Cancelling.STOPPING
    assert scheduler.must_stop("a", 0) is Stop.CANCELLED
    scheduler.finish("a", 1)
    assert scheduler.cancel("a") is Cancelling.UNKNOWN
    assert scheduler.must_stop("a", 1) is Stop.CANCELLED  # whoever still runs it runs it for nobody
    assert started(scheduler) is None


def test_deadlines():
    scheduler = Scheduler(10, patience=10)
    scheduler.submit(ticket("a", deadline=5), 0)
    scheduler.submit(ticket("b", deadline=3), 0)
    scheduler.submit(ticket("c"), 0)
    assert started(scheduler, 0) == "a"
    assert scheduler.next(2.9).dropped == ()
    assert [each.id for each in scheduler.next(3).dropped] == ["b"]
    assert scheduler.must_stop("a", 4.9) is None
    assert scheduler.must_stop("a", 5) is Stop.DEADLINE
    scheduler.cancel("a")
    assert scheduler.must_stop("a", 5) is Stop.DEADLINE, "the first reason stays"


def test_a_job_with_a_passed_deadline_never_starts():
    scheduler = Scheduler(10, patience=0)
    scheduler.submit(ticket("a", deadline=1), 0)
    decision = scheduler.next(5)
    assert decision.start is None and [each.id for each in decision.dropped] == ["a"]


def test_looking_ahead_names_what_comes_next():
    scheduler = Scheduler(10, patience=100)
    for number, group in enumerate("aba"):
        scheduler.submit(ticket(f"{number}", group), 0)
    assert started(scheduler) == "0"
    following = scheduler.following(0)
    assert following is not None and following.id == "2"
    scheduler.finish("0", 1)
    assert started(scheduler, 1) == "2"
    assert len(scheduler) == 1 and [each.id for each in scheduler.queued()] == ["1"]


def test_only_what_runs_can_finish():
    scheduler = Scheduler(10, patience=100)
    with pytest.raises(ValueError, match="does not run"):
        scheduler.finish("a", 0)


# --- any arrivals ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    at: float
    group: str
    client: str
    seconds: float


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        at=st.floats(0, 200),
        group=st.sampled_from("abcd"),
        client=st.sampled_from("xyz"),
        seconds=st.floats(0.1, 10),
    ),
    max_size=60,
)


@dataclass
class Run:
    """What a simulated replica did.

    Attributes:
        waited: seconds from submission to start, by job.
        ahead: older jobs of the same client in the queue at submission, by job.
        most_clients: with queued jobs at the same time.
        started: jobs in order.
        idle: seconds without work while something was queued.
    """

    waited: dict[int, float]
    ahead: dict[int, int]
    most_clients: int
    started: list[int]
    idle: float


def simulate(arrivals: list[Arrival], patience: float) -> Run:
    """One replica, by the event: it never waits while there is work."""
    scheduler = Scheduler(10**6, patience)
    pending = sorted(range(len(arrivals)), key=lambda i: (arrivals[i].at, i))
    run, now, free_at = Run({}, {}, 0, [], 0.0), 0.0, 0.0
    running: str | None = None
    while pending or running is not None or len(scheduler):
        next_arrival = arrivals[pending[0]].at if pending else math.inf
        now = min(next_arrival, free_at if running is not None else math.inf)
        if running is not None and free_at <= next_arrival:
            scheduler.finish(running, now)
            running = None
        else:
            number = pending.pop(0)
            arrival = arrivals[number]
            waiting = scheduler.queued()
            run.ahead[number] = sum(each.client == arrival.client for each in waiting)
            scheduler.submit(ticket(f"{number}", arrival.group, arrival.client), now)
            clients = {each.client for each in scheduler.queued()}
            run.most_clients = max(run.most_clients, len(clients))
        if running is None and (chosen := scheduler.next(now).start) is not None:
            running = chosen.id
            number = int(running)
            run.started.append(number)
            run.waited[number] = now - arrivals[number].at
            free_at = now + arrivals[number].seconds
        elif running is None:
            assert not len(scheduler), "idle although something is queued"
    return run


@given(ARRIVALS, st.sampled_from([0.0, 1.0, 15.0, 1000.0]))
@settings(max_examples=300, deadline=None)
def test_everybody_starts_within_the_bound(arrivals, patience):
    run = simulate(arrivals, patience)
    assert sorted(run.started) == list(range(len(arrivals)))
    longest = max((arrival.seconds for arrival in arrivals), default=0)
    for job, waited in run.waited.items():
        bound = patience + longest * (1 + run.most_clients * (run.ahead[job] + 1))
        assert waited <= bound + 1e-6


@given(ARRIVALS)
@settings(max_examples=100, deadline=None)
def test_with_endless_patience_a_motion_is_left_only_when_nobody_wants_it(arrivals):
    """Of jobs that are all there from the start, each motion is loaded once."""
    at_once = [Arrival(0.0, each.group, each.client, each.seconds) for each in arrivals]
    groups = [at_once[job].group for job in simulate(at_once, math.inf).started]
    changes = sum(one != two for one, two in itertools.pairwise(groups))
    assert changes == max(len(set(groups)) - 1, 0)


@given(ARRIVALS)
@settings(max_examples=100, deadline=None)
def test_without_patience_clients_share_evenly(arrivals):
    """While several clients have jobs waiting, none is more than one ahead of another."""
    at_once = [Arrival(0.0, each.group, each.client, each.seconds) for each in arrivals]
    ran = simulate(at_once, 0.0).started[1:]  # the first one started before the others came
    left = {client: sum(at_once[job].client == client for job in ran) for client in "xyz"}
    served = dict.fromkeys("xyz", 0)
    for job in ran:
        served[at_once[job].client] += 1
        waiting = [client for client in "xyz" if served[client] < left[client]]
        counts = [served[client] for client in waiting]
        assert not counts or max(counts) - min(counts) <= 1


# --- any sequence of calls ------------------------------------------------------------------------


class SchedulerMachine(RuleBasedStateMachine):
    """Random calls against a plain account of what is queued and what runs."""

    @initialize(capacity=st.integers(1, 6), patience=st.sampled_from([0.0, 5.0, 100.0]))
    def start(self, capacity, patience):
        self.scheduler = Scheduler(capacity, patience)
        self.capacity, self.now, self.number = capacity, 0.0, 0
        self.queued: dict[str, Ticket] = {}
        self.running: Ticket | None = None
        self.told: set[str] = set()

    @rule(
        group=st.sampled_from("abc"),
        client=st.sampled_from("xy"),
        seconds=st.none() | st.floats(0, 30),
    )
    def submit(self, group, client, seconds):
        self.number += 1
        deadline = None if seconds is None else self.now + seconds
        new = ticket(f"{self.number}", group, client, deadline)
        if len(self.queued) >= self.capacity:
            with pytest.raises(OverloadedError):
                self.scheduler.submit(new, self.now)
        else:
            self.scheduler.submit(new, self.now)
            self.queued[new.id] = new

    @rule(back=st.integers(0, 8))
    def cancel(self, back):
        job = f"{self.number - back}"
        expected = Cancelling.UNKNOWN
        if self.running is not None and self.running.id == job:
            expected = Cancelling.STOPPING
            self.told.add(job)
        elif self.queued.pop(job, None) is not None:
            expected = Cancelling.REMOVED
        assert self.scheduler.cancel(job) is expected

    @rule()
    def next(self):
        decision = self.scheduler.next(self.now)
        for each in decision.dropped:
            assert each.deadline is not None and each.deadline <= self.now
            del self.queued[each.id]
        left = self.queued.values()
        assert all(each.deadline is None or each.deadline > self.now for each in left)
        if decision.start is not None:
            assert self.running is None
            self.running = self.queued.pop(decision.start.id)
        else:
            assert self.running is not None or not self.queued

    @rule()
    def finish(self):
        if self.running is not None:
            self.scheduler.finish(self.running.id, self.now)
            self.running = None

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def the_account_agrees(self):
        assert {each.id for each in self.scheduler.queued()} == self.queued.keys()
        assert len(self.scheduler) == len(self.queued) <= self.capacity
        assert self.scheduler.running == self.running
        following = self.scheduler.following(self.now)
        assert (following is None) == (not self.queued)
        if self.running is not None:
            late = self.running.deadline is not None and self.running.deadline <= self.now
            stops = self.scheduler.must_stop(self.running.id, self.now) is not None
            assert stops == (late or self.running.id in self.told)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
