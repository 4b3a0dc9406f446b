"""A replica between job store and engine: every way that a job can go ends in the right state."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from motion_ray.errors import (
    DataError,
    DeltaError,
    GpuMemoryError,
    JobDatabaseError,
    JobStoreError,
    MotionRayError,
    NonFiniteVideoError,
    OverloadedError,
    PoolBusyError,
    PoolError,
    RequestError,
    StoreError,
    UnknownMotionError,
)
from motion_ray.serving import heart
from motion_ray.serving.jobs import (
    AdmissionLimits,
    EventKind,
    Job,
    JobState,
    NewJob,
)
from motion_ray.serving.replica import ATTEMPTS, AWAY_ATTEMPTS, SICK, Replica, ReplicaConfig
from motion_ray.serving.results import tidy
from motion_ray.serving.scheduler import Cancelling, Ticket
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from tests.serving.fake_engine import SPEC, FakeEngine, accept, ended, write
from tests.waiting import until


@pytest.fixture
def replica(engine, store, results) -> Iterator[Replica]:
    replica = Replica("one", engine, store, results, write, ReplicaConfig(lease_s=5, retry_s=0))
    yield replica
    engine.go_on.set()
    replica.close(0)


def test_a_job_becomes_a_video(replica, store, results, engine):
    job = accept(store, seed=7)
    replica.submit(job)
    found = ended(store, job)
    assert found.state is JobState.SUCCEEDED and found.result is not None
    assert results.path(found.result.file).read_bytes() == b"video of a red robot, seed 7"
    assert set(found.timings) == {"queue", "load", "denoise", "decode", "encode"}
    assert found.worker == "one" and found.done == found.total
    assert engine.prefetched == ["host"]


def test_progress_comes_from_real_steps(replica, store, engine, monkeypatch):
    monkeypatch.setattr(heart, "WRITE_S", 0.1)
    engine.seconds = 0.15
    job = accept(store, steps=4)
    replica.submit(job)
    ended(store, job)
    progress = [e.data for e in store.events(job.id) if e.kind is EventKind.PROGRESS]
    assert len(progress) >= 2 and all(each["total"] == 4 for each in progress)
    assert [each["done"] for each in progress] == sorted({each["done"] for each in progress})


def test_a_failure_is_told_without_our_secrets(replica, store):
    bad, good = accept(store, seed=FakeEngine.BROKEN), accept(store)
    replica.submit(bad)
    replica.submit(good)
    failure = ended(store, bad).failure
    assert failure is not None and failure.code == "motion_broken"
    assert failure.message == "the motion: is damaged; publish it again"
    assert ended(store, good).state is JobState.SUCCEEDED


def attempt(replica, store, job) -> Job:
    """The job after one more attempt at it."""
    tried = store.get(job.id).attempt
    replica.submit(store.get(job.id))

    def over() -> bool:
        found = store.get(job.id)
        return found.attempt > tried and found.state is not JobState.RUNNING

    until(lambda: over() and job.id not in replica.jobs())
    return store.get(job.id)


@pytest.mark.parametrize(
    ("seed", "attempts", "code", "message"),
    [
        (
            FakeEngine.CRASHES,
            ATTEMPTS,
            "internal_error",
            "the server made a mistake; it has been logged",
        ),
        (FakeEngine.UNREACHABLE, AWAY_ATTEMPTS, "store_unavailable", ""),
    ],
)
def test_what_may_pass_is_tried_again_before_it_has_failed(
    replica, store, seed, attempts, code, message
):
    job = accept(store, seed=seed)
    for _ in range(attempts - 1):
        assert attempt(replica, store, job).state is JobState.QUEUED
    failure = attempt(replica, store, job).failure
    assert failure is not None and failure.code == code and message in failure.message
    assert "/srv" not in failure.message


def test_before_another_attempt_there_is_a_pause_that_grows(engine, tmp_path, results):
    now = [1000.0]
    store = SqliteJobStore(tmp_path / "paused.sqlite", clock=lambda: now[0])
    replica = Replica("one", engine, store, results, write, ReplicaConfig(retry_s=2))
    job = accept(store, seed=FakeEngine.CRASHES)
    for tried, pause in enumerate((2.0, 8.0), 1):
        back = attempt(replica, store, job)
        assert (back.state, back.not_before) == (JobState.QUEUED, now[0] + pause)
        replica.submit(back)  # too early
        until(lambda: not replica.jobs())
        assert store.get(job.id).attempt == tried and store.queued(due=True) == []
        now[0] += pause
    assert attempt(replica, store, job).state is JobState.FAILED
    replica.close(5)


def test_jobs_outlast_a_store_that_is_away_for_minutes(engine, tmp_path, results):
    now = [1000.0]
    store = SqliteJobStore(tmp_path / "away.sqlite", clock=lambda: now[0])
    replica = Replica("one", engine, store, results, write, ReplicaConfig(retry_s=2))
    job = accept(store, seed=FakeEngine.UNREACHABLE)
    pauses = []
    while (back := attempt(replica, store, job)).state is JobState.QUEUED:
        pauses.append(back.not_before - now[0])
        now[0] = back.not_before
    assert pauses[:4] == [2.0, 8.0, 32.0, 60.0] and set(pauses[4:]) == {60.0}
    assert 500 < sum(pauses) < 600 and not replica.sick
    replica.close(5)


def test_a_store_that_is_not_reached_loses_no_job(replica, store, engine):
    job = accept(store, prompt="unreachable")
    for _ in range(5):
        with pytest.raises(StoreError):
            replica.submit(job)
    assert store.get(job.id).state is JobState.QUEUED


def test_after_several_jobs_with_mistakes_in_a_row_the_replica_is_sick(replica, store):
    poisoned = accept(store, seed=FakeEngine.CRASHES)
    for _ in range(ATTEMPTS):
        attempt(replica, store, poisoned)
    assert not replica.sick  # one job may be at fault itself
    attempt(replica, store, accept(store))  # a video in between: the row starts anew
    for _ in range(SICK):
        assert not replica.sick
        attempt(replica, store, accept(store, seed=FakeEngine.CRASHES))
    assert replica.sick


def test_a_sick_replica_leaves_what_waits_in_it_to_others(replica, store, engine):
    engine.go_on.clear()
    first = accept(store)
    replica.submit(first)
    assert engine.entered.wait(20)
    jobs = [accept(store, seed=FakeEngine.CRASHES) for _ in range(SICK + 2)]
    for job in jobs:
        replica.submit(job)
    engine.go_on.set()
    until(lambda: not replica.jobs())
    assert replica.sick
    found = [store.get(job.id) for job in jobs]
    assert {job.state for job in found} == {JobState.QUEUED}
    assert sorted(job.attempt for job in found) == [0, 0, *[1] * SICK]


def test_a_replica_whose_job_hangs_is_sick_and_its_job_goes_on_elsewhere(store, results, engine):
    config = ReplicaConfig(lease_s=0.3, stall_s=0.5)
    replica = Replica("one", engine, store, results, write, config)
    engine.go_on.clear()
    job = accept(store)
    replica.submit(job)
    assert engine.entered.wait(20) and not replica.sick
    until(lambda: replica.sick)
    until(lambda: any(each.id == job.id for each in store.recover()))
    found = store.get(job.id)
    assert (found.state, found.losses) == (JobState.QUEUED, 1)
    engine.go_on.set()
    until(lambda: not replica.jobs())
    assert store.get(job.id).state is JobState.QUEUED, "what comes late counts for nothing"
    replica.close(0)


FULL = MotionRayError("/srv/videos", "the disk is full", "free some space")


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        (FULL, True),
        (GpuMemoryError("the GPU", "has no room for this"), False),
        (DataError("/tmp", "the disk of temporary files is full"), True),
        (JobStoreError("jobs.sqlite", "cannot be used: database or disk is full"), True),
        (StoreError("/srv/store", "cannot be read"), False),
        (JobDatabaseError("postgresql://db/jobs", "cannot be used: connection refused"), False),
        (PoolBusyError("the device tier", "no room at this moment"), False),
    ],
)
def test_a_fault_of_the_storage_puts_a_job_back(store, results, engine, fault, counts):
    faults = [fault] * SICK

    def full_at_first(path, video) -> None:
        if faults:
            raise faults.pop()
        write(path, video)

    again = ReplicaConfig(retry_s=0)
    replica = Replica("one", engine, store, results, full_at_first, again)
    jobs = [accept(store) for _ in range(SICK)]
    for job in jobs:
        assert attempt(replica, store, job).state is JobState.QUEUED
    assert replica.sick is counts
    if counts:  # it needs a new process
        replica.close(0)
        replica = Replica("two", engine, store, results, full_at_first, again)
    assert attempt(replica, store, jobs[0]).state is JobState.SUCCEEDED
    replica.close(0)


def test_a_video_that_the_store_cannot_be_told_of_is_made_again(
    replica, store, results, monkeypatch
):
    told = store.succeed
    faults = [JobStoreError("jobs.sqlite", "cannot be used: database or disk is full")]

    def full_once(*args) -> bool:
        if faults:
            raise faults.pop()
        return told(*args)

    monkeypatch.setattr(store, "succeed", full_once)
    job = accept(store)
    assert attempt(replica, store, job).state is JobState.QUEUED
    found = attempt(replica, store, job)
    assert (found.state, found.attempt) == (JobState.SUCCEEDED, 2)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (PoolError("the host tier", "is too small", "raise the budget"), "pool_full"),
        (UnknownMotionError("/srv/store", "has no motion 'arms'"), "motion_not_found"),
        (RequestError("size", "is odd", "for example 64x64"), "invalid_value"),
        (NonFiniteVideoError("generation", "ended in NaN"), "not_finite"),
    ],
)
def test_what_stays_as_it_is_fails_at_once(replica, store, engine, monkeypatch, fault, code):
    def refuse(*args: object, **kwargs: object) -> None:
        raise fault

    monkeypatch.setattr(engine, "generate", refuse)
    job = accept(store)
    replica.submit(job)
    failure = ended(store, job).failure
    assert failure is not None and failure.code == code and not replica.sick


def test_a_request_that_this_version_cannot_read_fails_and_says_why(replica, store):
    request = SPEC.model_dump(mode="json") | {"colour": "red"}
    job = store.create(NewJob("ann", request, "f"), AdmissionLimits()).job
    with pytest.raises(RequestError, match="cannot be read by this version"):
        replica.submit(job)
    failure = store.get(job.id).failure
    assert failure is not None and failure.code == "invalid_value"
    assert "cannot be read by this version of the server (colour: " in failure.message


def test_a_job_that_was_let_go_is_not_started(replica, store):
    job = accept(store)
    replica.run(Ticket(job.id, "a"), lambda: None)  # cancelled here as its turn came
    assert store.get(job.id).state is JobState.QUEUED


def test_a_job_that_is_ordered_again_leaves_nothing_behind(replica, store, engine):
    engine.go_on.clear()
    runs, waits = accept(store), accept(store)
    replica.submit(runs)
    assert engine.entered.wait(20)
    replica.submit(waits)
    for job in (runs, waits):
        with pytest.raises(ValueError, match="here already"):
            replica.submit(job)
    assert set(replica._mixes) == {waits.id}
    engine.go_on.set()
    assert ended(store, waits).state is JobState.SUCCEEDED


def test_a_replica_whose_thread_has_ended_is_sick(replica, store, caplog, monkeypatch):
    def broken(now: float) -> None:
        raise RuntimeError("a bug in the scheduler")

    monkeypatch.setattr(replica._worker._scheduler, "next", broken)
    assert not replica.sick
    replica.submit(accept(store))
    until(lambda: replica.sick)
    assert "the thread that runs jobs has ended" in caplog.text


def test_what_is_logged_while_a_job_runs_names_it(replica, store, logged):
    good, bad = accept(store), accept(store, seed=FakeEngine.CRASHES)
    replica.submit(good)
    ended(store, good)
    for _ in range(ATTEMPTS):
        attempt(replica, store, bad)
    lines = [line for line in logged() if line.get("job") == bad.id]
    assert {"motion_ray.serving.replica", "motion_ray.serving.api_errors"} == {
        line["logger"] for line in lines
    }
    assert any("/srv/secret: out of memory" in line.get("error", "") for line in lines)


def test_a_job_whose_motion_is_gone_fails_at_once(replica, store):
    job = accept(store, prompt="gone")
    with pytest.raises(DeltaError):
        replica.submit(job)
    failure = store.get(job.id).failure
    assert failure is not None and failure.code == "motion_broken"


def test_a_running_job_stops_within_one_step(replica, store, engine, results):
    job = accept(store, steps=1000)
    engine.go_on.clear()
    replica.submit(job)
    assert engine.entered.wait(20)
    store.cancel(job.id)
    assert replica.cancel(job.id) is Cancelling.STOPPING
    engine.go_on.set()
    assert ended(store, job).state is JobState.CANCELLED
    assert engine.stepped <= 1
    assert results.names() == set()


def test_a_cancellation_elsewhere_is_heard_of(replica, store, engine):
    """The store alone tells it; the replica is not called."""
    engine.seconds = 0.05
    job = accept(store, steps=1000)
    replica.submit(job)
    assert engine.entered.wait(20)
    store.cancel(job.id)
    assert ended(store, job).state is JobState.CANCELLED
    assert engine.stepped < 100


def test_a_job_cancelled_while_it_waits_never_starts(replica, store, engine):
    first, second = accept(store), accept(store)
    engine.go_on.clear()
    replica.submit(first)
    assert engine.entered.wait(20)
    replica.submit(second)
    store.cancel(second.id)  # nobody told the replica
    engine.go_on.set()
    ended(store, first)
    third = accept(store)
    replica.submit(third)
    ended(store, third)
    assert store.get(second.id).attempt == 0


def test_deadlines(replica, store, engine):
    late = accept(store, deadline_s=2, steps=1000)
    waits = accept(store, deadline_s=1.5)
    engine.seconds = 0.02
    replica.submit(late)
    assert engine.entered.wait(20)
    replica.submit(waits)
    for job, message in ((late, "while it ran"), (waits, "before it was started")):
        failure = ended(store, job).failure
        assert failure is not None and failure.code == "deadline_exceeded"
        assert message in failure.message


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_deadlines_go_by_the_clock_of_the_store(skew, tmp_path, results, engine):
    """A machine whose own is an hour ahead drops nothing that is in time, and the other way."""
    store = SqliteJobStore(tmp_path / "jobs.sqlite", clock=lambda: time.time() + skew)
    replica = Replica("one", engine, store, results, write, ReplicaConfig(lease_s=5))
    engine.seconds = 0.02
    late, early = accept(store, deadline_s=1, steps=1000), accept(store, deadline_s=60)
    for job in (late, early):
        replica.submit(job)
    assert ended(store, late).state is JobState.FAILED
    assert ended(store, early).state is JobState.SUCCEEDED
    replica.close(0)


def test_two_replicas_do_not_run_the_same_job(replica, store, results, engine):
    other = Replica("two", engine, store, results, write)
    jobs = [accept(store) for _ in range(4)]
    for job in jobs:
        replica.submit(job)
        other.submit(job)
    found = [ended(store, job) for job in jobs]
    other.close(5)
    assert {job.attempt for job in found} == {1}
    assert {job.state for job in found} == {JobState.SUCCEEDED}


def test_a_full_replica_refuses_and_the_job_stays_queued(store, results, engine):
    replica = Replica("one", engine, store, results, write, ReplicaConfig(queue=1))
    engine.go_on.clear()
    running, waiting, refused = (accept(store) for _ in range(3))
    replica.submit(running)
    assert engine.entered.wait(20)
    replica.submit(waiting)
    assert replica.load()[0] == 1
    with pytest.raises(OverloadedError):
        replica.submit(refused)
    assert store.get(refused.id).state is JobState.QUEUED
    engine.go_on.set()
    replica.close(10)


def test_a_replica_that_shuts_down_gives_its_jobs_back(store, results, engine):
    replica = Replica("one", engine, store, results, write)
    running, waiting = accept(store, steps=3000), accept(store)
    replica.submit(running)
    assert engine.entered.wait(20)
    replica.submit(waiting)
    replica.close(0.01)
    assert [job.id for job in store.queued()] == [running.id, waiting.id]
    assert store.get(running.id).losses == 0
    quick = FakeEngine()
    quick.seconds = 0
    second = Replica("two", quick, store, results, write)
    for job in store.queued():
        second.submit(store.get(job.id))
    ended(store, waiting)
    second.close(0)


def test_a_replica_that_lost_its_claim_leaves_the_job_alone(store, results, engine, monkeypatch):
    """It was away for too long; the job runs elsewhere meanwhile."""
    monkeypatch.setattr(heart, "LOOK_S", 0.1)
    told: list[bool] = []

    def listened(ask):
        def asked(*words):
            answer = ask(*words)
            told.append(answer.held)
            return answer

        return asked

    monkeypatch.setattr(store, "look", listened(store.look))
    monkeypatch.setattr(store, "beat", listened(store.beat))
    replica = Replica("one", engine, store, results, write, ReplicaConfig(lease_s=30.0))
    job = accept(store, steps=1000)
    engine.go_on.clear()
    replica.submit(job)
    assert engine.entered.wait(20)

    def found_silent() -> bool:  # unless a sign of life comes in between
        with store._database.writing() as connection:  # as if it had been silent for an hour
            connection.execute("UPDATE jobs SET lease_until = 0")
        return bool(tidy(store, results))

    until(found_silent)
    other = store.start(job.id, "two", 100)
    assert other is not None
    # The next look tells it, before the engine has waited for too long, and is the last one.
    until(lambda: False in told, seconds=10)
    time.sleep(1.0)
    assert told.count(False) == 1
    engine.go_on.set()
    replica.close(10)
    assert store.get(job.id) == other
    assert engine.stepped == 0


def test_a_claim_is_renewed_for_as_long_as_the_job_runs(store, results, engine):
    replica = Replica("one", engine, store, results, write, ReplicaConfig(lease_s=2.0))
    job = accept(store, steps=1)
    engine.go_on.clear()
    replica.submit(job)
    assert engine.entered.wait(20)
    claimed_until = store.get(job.id).lease_until
    until(lambda: store.get(job.id).lease_until > claimed_until + 1)
    assert store.recover() == []
    engine.go_on.set()
    assert ended(store, job).state is JobState.SUCCEEDED
    replica.close(5)
