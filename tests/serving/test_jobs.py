"""The job store: nothing accepted is lost, nothing happens twice, limits hold exactly."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from motion_ray.errors import (
    IdempotencyError,
    JobExpiredError,
    JobNotFoundError,
    OverloadedError,
    QuotaError,
)
from motion_ray.serving import sql_jobs
from motion_ray.serving.jobs import (
    DEADLINE_EXCEEDED,
    AdmissionLimits,
    Claim,
    EventKind,
    JobFailure,
    JobState,
)
from motion_ray.serving.sql_jobs import DAY, USAGE_KEPT, SqlJobStore
from tests.serving.job_samples import DONE, FREE, create, kinds, new, started


@pytest.fixture
def store(clocked) -> SqlJobStore:
    return clocked


# --- the way of a job -----------------------------------------------------------------------------


def test_a_job_from_acceptance_to_success(store, clock):
    created = store.create(new("ann", deadline_s=50), FREE)
    assert created.fresh and created.job.state is JobState.QUEUED
    job = created.job
    clock.now += 1
    running = started(store, job)
    assert (running.state, running.attempt, running.started_at) == ("running", 1, clock.now)
    assert running.claim == Claim(job.id, "w", 1)
    clock.now += 1
    assert store.beat(running.claim, 10, done=3, total=15) == store.beat(running.claim, 10)
    clock.now += 2
    assert store.succeed(running.claim, DONE, {"denoise": 2.5})
    found = store.get(job.id, "ann")
    assert (found.state, found.result, found.timings) == ("succeeded", DONE, {"denoise": 2.5})
    assert (found.done, found.total) == (15, 15)  # a finished job has done all its steps
    assert (found.finished_at, found.expires_at) == (clock.now, clock.now + 100)
    assert found.request == {"prompt": "a robot"} and found.deadline == job.deadline
    assert kinds(store, job) == ["queued", "started", "progress", "succeeded"]
    assert store.usage("ann").jobs == 1 and store.usage("ann").seconds == 3.0


def test_progress_never_goes_back(store):
    job = started(store, create(store))
    for done, total in ((3, 15), (2, 14), (0, 0)):
        store.beat(job.claim, 10, done, total)
        found = store.get(job.id)
        assert (found.done, found.total) == (3, 15)
    assert kinds(store, job) == ["queued", "started", "progress"]


def test_ids_cannot_be_guessed_and_events_are_in_order(store):
    jobs = [create(store) for _ in range(3)]
    assert len({job.id for job in jobs}) == 3 and all(len(job.id) == 38 for job in jobs)
    for job in reversed(jobs):
        started(store, job)
    events = [event.id for job in jobs for event in store.events(job.id)]
    assert len(set(events)) == 6
    first, second = (event.id for event in store.events(jobs[0].id))
    assert [event.id for event in store.events(jobs[0].id, after=first)] == [second]
    assert store.events(jobs[0].id, after=second) == []


def test_a_failure_says_why(store):
    job = started(store, create(store))
    assert store.fail(job.claim, JobFailure("motion_broken", "it is damaged"))
    found = store.get(job.id)
    assert (found.state, found.failure) == ("failed", JobFailure("motion_broken", "it is damaged"))
    assert store.events(job.id)[-1].data == {"code": "motion_broken", "message": "it is damaged"}


def test_a_job_starts_once(store):
    job = create(store)
    assert store.start(job.id, "one", 10) is not None
    assert store.start(job.id, "two", 10) is None
    assert store.start("video_unknown", "two", 10) is None


def test_of_many_who_start_it_one_does(store):
    jobs = [create(store) for _ in range(5)]
    barrier = threading.Barrier(8)

    def work(worker: int) -> list[str]:
        barrier.wait()
        return [job.id for job in jobs if store.start(job.id, f"{worker}", 10) is not None]

    with ThreadPoolExecutor(8) as threads:
        taken = [job for mine in threads.map(work, range(8)) for job in mine]
    assert sorted(taken) == sorted(job.id for job in jobs)


@pytest.mark.parametrize("act", ["succeed", "fail", "stopped", "release"])
def test_a_final_state_stays(store, act):
    job = started(store, create(store))
    assert store.stopped(job.claim)
    actions = {
        "succeed": lambda: store.succeed(job.claim, DONE, {}),
        "fail": lambda: store.fail(job.claim, JobFailure("x", "y")),
        "stopped": lambda: store.stopped(job.claim),
        "release": lambda: store.release(job.claim),
    }
    before = store.get(job.id)
    assert actions[act]() is False
    assert not store.beat(job.claim, 10).held and not store.look(job.claim).held
    assert store.start(job.id, "w", 10) is None
    assert store.cancel(job.id) == before == store.get(job.id)


# --- cancelling -----------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(store):
    job = create(store)
    assert store.cancel(job.id).state is JobState.CANCELLED
    assert store.start(job.id, "w", 10) is None
    assert kinds(store, job) == ["queued", "cancelled"]


def test_a_running_job_is_told_to_stop_and_then_stops(store):
    job = started(store, create(store))
    for _ in range(2):
        found = store.cancel(job.id)
        assert (found.state, found.cancelling) == (JobState.RUNNING, True)
    beat = store.beat(job.claim, 10)
    assert beat.held and beat.cancelling and store.look(job.claim) == beat
    assert store.stopped(job.claim)
    assert store.get(job.id).state is JobState.CANCELLED
    assert kinds(store, job) == ["queued", "started", "cancelling", "cancelled"]


def test_who_finishes_before_he_hears_of_it_has_finished(store):
    job = started(store, create(store))
    store.cancel(job.id)
    assert store.succeed(job.claim, DONE, {})
    assert store.get(job.id).state is JobState.SUCCEEDED and not store.stopped(job.claim)


def test_a_cancelled_job_does_not_come_back_when_its_worker_is_lost(store, clock):
    job = started(store, create(store))
    store.cancel(job.id)
    clock.now += 11
    assert [each.state for each in store.recover()] == [JobState.CANCELLED]


def test_deleting_a_finished_job_removes_it_and_its_video(store, clock):
    job = started(store, create(store, "ann"))
    store.succeed(job.claim, DONE, {})
    assert store.delete(job.id, "ann").state is JobState.SUCCEEDED
    with pytest.raises(JobExpiredError):
        store.get(job.id)
    assert store.page("ann").jobs == ()
    assert store.expire() == [DONE.file]
    with pytest.raises(JobExpiredError):
        store.delete(job.id, "ann")


def test_deleting_a_running_job_stops_it_first(store):
    job = started(store, create(store))
    assert store.delete(job.id).cancelling
    assert store.expire() == [] and store.beat(job.claim, 10).cancelling
    store.stopped(job.claim)
    assert kinds(store, job)[-1] == "cancelled"
    assert store.expire() == [] and kinds(store, job) == []  # with its row, and that at once
    with pytest.raises(JobExpiredError):
        store.get(job.id)


def test_the_video_of_a_job_that_was_deleted_while_it_ran_goes_at_once(store):
    job = started(store, create(store))
    store.delete(job.id)
    assert store.succeed(job.claim, DONE, {})
    assert store.expire() == [DONE.file]


def test_deleting_a_queued_job_cancels_it(store):
    job = create(store)
    assert store.delete(job.id).state is JobState.CANCELLED
    assert store.queued() == [] and store.page().jobs == ()


def test_so_many_jobs_go_at_a_time(store, clock, monkeypatch):
    """Nobody waits to write while a day's jobs are removed."""
    monkeypatch.setattr(sql_jobs, "AT_ONCE", 2)
    files = [f"video_{number:032x}.1.mp4" for number in range(5)]
    for file in files:
        store.succeed(started(store, create(store)).claim, replace(DONE, file=file), {})
    clock.now += 100
    gone = [store.expire() for _ in range(4)]
    assert [len(each) for each in gone] == [2, 2, 1, 0]
    assert sorted(file for each in gone for file in each) == files


def test_so_many_jobs_are_seen_to_at_a_time(store, clock, monkeypatch):
    """Nor while all are that a machine had, or that waited for one."""
    monkeypatch.setattr(sql_jobs, "AT_ONCE", 2)
    lost = [started(store, create(store)) for _ in range(3)]
    late = [create(store, deadline_s=50) for _ in range(3)]
    clock.now += 60
    found = [[job.id for job in store.recover()] for _ in range(3)]
    assert [len(each) for each in found] == [4, 2, 0]
    assert {job for each in found for job in each} == {job.id for job in (*lost, *late)}


# --- workers that go silent -----------------------------------------------------------------------


def test_a_lost_workers_job_is_queued_again_and_its_word_counts_for_nothing(store, clock):
    job = started(store, create(store), "one")
    clock.now += 9
    store.beat(job.claim, 10, done=4, total=10)
    clock.now += 9
    assert store.recover() == []
    clock.now += 1
    (found,) = store.recover()
    assert (found.state, found.losses, found.done) == (JobState.QUEUED, 1, 0)
    again = started(store, job, "two")
    assert again.attempt == 2
    assert not store.beat(job.claim, 10).held
    assert not store.succeed(job.claim, DONE, {})
    assert store.succeed(again.claim, DONE, {})
    expected = ["queued", "started", "progress", "requeued", "started", "succeeded"]
    assert kinds(store, job) == expected


def test_the_same_worker_with_an_older_attempt_is_refused(store, clock):
    job = started(store, create(store))
    clock.now += 10
    store.recover()
    again = started(store, job)
    assert not store.succeed(job.claim, DONE, {}) and store.succeed(again.claim, DONE, {})


def test_a_job_that_loses_every_worker_fails(store, clock):
    job = create(store)
    for _ in range(3):
        started(store, job)
        clock.now += 10
        (found,) = store.recover()
    assert found.state is JobState.FAILED and found.failure is not None
    assert found.failure.code == "worker_lost" and found.attempt == 3


def test_a_worker_that_shuts_down_gives_its_job_back_without_a_loss(store):
    job = create(store)
    for _ in range(10):
        running = started(store, job)
        assert store.release(running.claim)
    found = store.get(job.id)
    assert (found.state, found.losses, found.attempt) == (JobState.QUEUED, 0, 10)


def test_a_job_that_was_put_back_with_a_pause_is_not_started_before(store, clock):
    job, other = started(store, create(store)), create(store)
    assert store.release(job.claim, 8.0)
    for seconds in (0.0, 7.9):
        clock.now += seconds
        assert store.start(job.id, "two", 10.0) is None
        assert [each.id for each in store.queued(due=True)] == [other.id]
        assert [each.id for each in store.queued()] == [job.id, other.id]
    clock.now += 0.2
    assert [each.id for each in store.queued(due=True)] == [job.id, other.id]
    again = store.start(job.id, "two", 10.0)
    assert again is not None and (again.attempt, again.not_before) == (2, None)
    (told,) = [e.data for e in store.events(job.id) if e.kind is EventKind.REQUEUED]
    assert told == {"losses": 0, "pause_s": 8.0}


def test_a_pause_does_not_outlive_a_deadline(store, clock):
    job = started(store, create(store, deadline_s=5))
    store.release(job.claim, 60.0)
    clock.now += 6
    (found,) = store.recover()
    assert found.state is JobState.FAILED and found.failure is not None
    assert found.failure.code == DEADLINE_EXCEEDED


def test_a_sign_of_life_never_shortens_a_claim(store, clock):
    job = started(store, create(store), lease_s=100)
    store.beat(job.claim, 1)
    clock.now += 50
    assert store.recover() == []


def test_a_look_renews_nothing(store, clock):
    job = started(store, create(store), lease_s=10)
    assert store.look(job.claim).held
    assert store.get(job.id) == job
    clock.now += 10
    assert [each.id for each in store.recover()] == [job.id]


def test_a_queued_job_past_its_deadline_fails_and_never_starts(store, clock):
    job = create(store, deadline_s=5)
    clock.now += 5
    assert store.start(job.id, "w", 10) is None
    (found,) = store.recover()
    assert found.failure is not None and found.failure.code == "deadline_exceeded"


def test_a_job_can_be_refused_without_having_run(store):
    job = create(store)
    assert store.reject(job.id, JobFailure("deadline_exceeded", "too late"))
    assert not store.reject(job.id, JobFailure("deadline_exceeded", "too late"))
    assert store.get(job.id).state is JobState.FAILED and store.usage("").seconds == 0


# --- idempotency ----------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_job(store):
    first = store.create(new("ann", "k"), FREE)
    again = store.create(new("ann", "k"), FREE)
    assert first.fresh and not again.fresh and again.job == first.job
    assert store.create(new("bob", "k"), FREE).fresh
    assert store.usage("ann").jobs == 1


def test_a_key_for_another_request_is_refused(store):
    job = store.create(new("ann", "k"), FREE).job
    with pytest.raises(IdempotencyError, match=f"another request, which became {job.id}"):
        store.create(new("ann", "k", fingerprint="g"), FREE)


def test_a_repeated_request_meets_no_limit(store):
    limits = AdmissionLimits(queued=1, active=1, jobs_a_day=1)
    job = store.create(new("ann", "k"), limits).job
    assert store.create(new("ann", "k"), limits).job == job


def test_of_many_with_the_same_key_one_makes_a_job(store):
    keys = [f"k{number % 5}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda key: store.create(new("ann", key), FREE), keys))
    assert sum(each.fresh for each in made) == 5
    assert len({each.job.id for each in made}) == 5 == len(store.page("ann", limit=100).jobs)


def test_a_deleted_jobs_key_is_not_used_again_unnoticed(store):
    job = store.create(new("ann", "k"), FREE).job
    store.delete(job.id)
    with pytest.raises(IdempotencyError, match="was deleted"):
        store.create(new("ann", "k"), FREE)


# --- limits ---------------------------------------------------------------------------------------


def test_the_queue_takes_exactly_as_many_as_it_may(store):
    limits = AdmissionLimits(queued=5, retry_after=7)

    def ask(number: int) -> float | None:
        try:
            store.create(new(f"c{number % 3}"), limits)
        except OverloadedError as full:
            return full.retry_after
        return None

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(40)))
    assert answers.count(None) == 5 and answers.count(7) == 35
    started(store, store.queued()[0])
    store.create(new(), limits)
    with pytest.raises(OverloadedError, match="5 jobs are queued, which is the limit"):
        store.create(new(), limits)


def test_a_client_has_so_many_jobs_at_a_time(store):
    limits = AdmissionLimits(active=2)
    first = store.create(new("ann"), limits).job
    store.create(new("ann"), limits)
    running = started(store, first)
    with pytest.raises(QuotaError, match="your key: 2 jobs wait or run"):
        store.create(new("ann"), limits)
    store.create(new("bob"), limits)
    store.stopped(running.claim)
    store.create(new("ann"), limits)


def test_a_client_has_so_many_jobs_a_day(store, clock):
    limits = AdmissionLimits(jobs_a_day=2)
    for _ in range(2):
        store.cancel(store.create(new("ann"), limits).job.id)
    with pytest.raises(QuotaError, match="2 jobs were accepted today") as caught:
        store.create(new("ann"), limits)
    assert caught.value.retry_after == 43_200
    clock.now += 43_200
    store.create(new("ann"), limits)


def test_a_client_has_so_many_seconds_a_day(store, clock):
    limits = AdmissionLimits(seconds_a_day=30)
    lost = started(store, store.create(new("ann"), limits).job, lease_s=20)
    clock.now += 20
    store.recover()  # what a lost worker used counts as well
    again = started(store, lost)
    clock.now += 10
    store.fail(again.claim, JobFailure("x", "y"))
    with pytest.raises(QuotaError, match="30 seconds were used today, the limit is 30"):
        store.create(new("ann"), limits)


def test_what_a_client_used_is_known_for_a_month(store, clock):
    create(store, "ann")
    noon = clock.now
    for days, jobs in ((0, 1), (USAGE_KEPT, 1), (USAGE_KEPT + 1, 0)):
        clock.now = noon + days * DAY
        store.expire()
        clock.now = noon
        assert store.usage("ann").jobs == jobs


# --- lists and owners -----------------------------------------------------------------------------


def test_a_list_in_pages_has_every_job_once(store):
    mine = [create(store, "ann").id for _ in range(5)]
    create(store, "bob")
    for newest_first, expected in ((True, mine[::-1]), (False, mine)):
        found, after, more = [], None, True
        while more:
            page = store.page("ann", after=after, limit=2, newest_first=newest_first)
            found += [job.id for job in page.jobs]
            after, more = found[-1], page.more
        assert found == expected
    assert len(store.page(limit=100).jobs) == 6


def test_jobs_by_state_and_who_stands_in_front(store):
    jobs = [create(store, client) for client in ("a", "b", "a", "b")]
    started(store, jobs[1])
    assert [job.id for job in store.running()] == [jobs[1].id]
    assert [job.id for job in store.queued()] == [jobs[0].id, jobs[2].id, jobs[3].id]
    assert [store.ahead(job.id) for job in jobs] == [0, 0, 1, 2]
    assert store.ahead("video_unknown") == 0
    store.cancel(jobs[0].id)
    assert store.ahead(jobs[3].id) == 1


def test_a_foreign_job_looks_like_none(store):
    job = create(store, "ann")
    for act in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFoundError, match="there is no such job"):
            act(job.id, "bob")
    with pytest.raises(JobNotFoundError):
        store.page("bob", after=job.id)
    assert store.get(job.id).state is JobState.QUEUED
