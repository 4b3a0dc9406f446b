"""The backend of one process: what it does when, and what one job cannot do to the others."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from motion_ray.serving.http import local
from motion_ray.serving.http.local import LocalBackend
from motion_ray.serving.jobs import AdmissionLimits, Job, JobState, NewJob
from motion_ray.serving.replica import SICK
from tests.serving.fake_engine import accept
from tests.serving.http.calls import error, post
from tests.serving.http.toy_server import CRASHES, ToyServer
from tests.waiting import until, until_true


def backend(server: ToyServer, tick_s: float) -> LocalBackend:
    return LocalBackend(
        "toy-1",
        server.replica,
        server.pool,
        server.jobs,
        server.results,
        lambda: None,
        tick_s=tick_s,
        grace_s=0.1,
    )


def odd(server: ToyServer) -> Job:
    """A job that another version accepted."""
    new = NewJob("", {"prompt": "a robot", "colour": "red"}, "f")
    return server.jobs.create(new, AdmissionLimits()).job


def served(made: LocalBackend, story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await made.start()
        try:
            await story()
        finally:
            await made.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_accepted_jobs_are_handed_out_without_looking_at_everything(server, monkeypatch):
    looks = {"recover": 0, "expire": 0, "results": 0}

    def counted(name: str) -> None:
        method = getattr(server.jobs, name)

        def count():
            looks[name] += 1
            return method()

        monkeypatch.setattr(server.jobs, name, count)

    for name in looks:
        counted(name)
    made = backend(server, tick_s=30)

    async def story() -> None:
        for _ in range(5):
            job = accept(server.jobs)
            await made.dispatch(job)
            await until_true(lambda job=job: server.jobs.get(job.id).state is JobState.SUCCEEDED)

    served(made, story)
    assert looks == {"recover": 1, "expire": 1, "results": 1}


def test_what_is_left_over_is_looked_for_now_and_then(server, monkeypatch):
    times: list[float] = []  # that it was told; during a sweep the last one is its round's
    swept: list[float] = []

    def monotonic() -> float:
        times.append(time.monotonic())
        return times[-1]

    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(local, "SWEEP_S", 0.3)
    monkeypatch.setattr(local, "sweep", lambda *args: swept.append(times[-1]))
    made = backend(server, tick_s=0.02)

    async def story() -> None:
        await until_true(lambda: len(swept) >= 3)

    served(made, story)
    assert all(after - before >= 0.29 for before, after in itertools.pairwise(swept))


def test_who_waits_hears_at_once_that_a_job_has_ended(client, server):
    backend = server.services.backend
    server.engine.go_on.clear()
    job = post(client).json()["id"]
    assert server.engine.entered.wait(20)

    async def wait() -> float:
        started = time.monotonic()
        await backend.settled(job, 20)
        return time.monotonic() - started

    waiting = client.portal.start_task_soon(wait)
    assert not waiting.done()
    server.engine.go_on.set()
    assert waiting.result(20) < 10
    assert server.jobs.get(job).state is JobState.SUCCEEDED


def test_a_job_that_cannot_be_read_fails_and_holds_up_nobody(client, server):
    bad = odd(server)
    assert post(client, wait=20).json()["status"] == "completed"
    failure = server.jobs.get(bad.id).failure
    assert failure is not None and "cannot be read by this version" in failure.message
    listed = client.get("/v1/videos").json()["data"]
    assert [each["status"] for each in listed] == ["completed", "failed"]
    assert (listed[1]["prompt"], listed[1]["num_frames"]) == ("a robot", 0)
    shown = client.get(f"/v1/videos/{bad.id}").json()
    assert shown["error"]["code"] == "invalid_value"
    assert client.delete("/v1/motions/arms").status_code == 200


def test_a_job_that_meets_a_bug_as_it_is_handed_out_holds_up_nobody(
    client, server, monkeypatch, caplog
):
    mix = server.engine.mix

    def broken(spec):
        if spec.prompt == "a bug":
            raise KeyError("oops")
        return mix(spec)

    monkeypatch.setattr(server.engine, "mix", broken)
    bad = post(client, prompt="a bug").json()["id"]
    assert post(client, wait=20).json()["status"] == "completed"
    assert server.jobs.get(bad).state is JobState.QUEUED
    assert f"{bad} could not be handed out" in caplog.text


def test_a_sick_server_is_not_ready_and_keeps_its_queue(client, server, caplog):
    for _ in range(SICK):
        post(client, seed=CRASHES)
    until(lambda: server.replica.sick)
    assert error(client.get("/health/ready"))[:2] == (503, "not_ready")
    waits = [post(client).json()["id"] for _ in range(3)]
    time.sleep(0.5)  # five rounds
    assert {server.jobs.get(each).state for each in waits} == {JobState.QUEUED}
    assert {job.attempt for job in server.jobs.queued()} <= {0, 1, 2}
    assert caplog.text.count("the replica is sick") == 1


@pytest.mark.parametrize("order", ["load", "pin"])
def test_motions_are_read_in_threads_that_end(client, server, monkeypatch, order):
    """OpenMP keeps threads for each one that has computed and lives on."""
    threads: list[threading.Thread] = []
    act = getattr(server.pool, order)

    def noted(*args):
        threads.append(threading.current_thread())
        return act(*args)

    monkeypatch.setattr(server.pool, order, noted)
    assert client.post(f"/v1/motions/arms/{order}").status_code == 200
    assert len(threads) == 1 and not threads[0].is_alive()
