"""Which replica gets a job: residency against waiting, fairness, and what a lost replica leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motion_ray.serving.fleet import Fleet
from motion_ray.serving.jobs import Job, JobState
from motion_ray.serving.mix import Mix
from motion_ray.serving.orders import LetGo, Report, Run
from motion_ray.serving.pool import Level
from motion_ray.serving.requests import SpecMotion
from tests.serving.fake_engine import SPEC
from tests.serving.toy import record_of, toy_delta

WAVE, HAT = "a" * 64, "b" * 64


def job(name: str, client: str = "ann", motions: Sequence[str] = ()) -> Job:
    wanted = tuple(SpecMotion(id="m", version=1, sha256=each, weight=1.0) for each in motions)
    request = SPEC.model_copy(update={"motions": wanted}).model_dump(mode="json")
    return Job(name, client, JobState.QUEUED, request, 0.0)


def report(
    name: str,
    serial: int = 1,
    *,
    jobs: Sequence[str] = (),
    room: int = 2,
    wait_s: float = 0.0,
    job_s: float = 1.0,
    loaded: dict[str, Level] | None = None,
    epoch: str = "e",
    seen: int = 0,
    ready: bool = True,
) -> Report:
    return Report(
        replica=name,
        serial=serial,
        ready=ready,
        epoch=epoch,
        seen=seen,
        jobs=frozenset(jobs),
        queued=len(jobs),
        room=room,
        wait_s=wait_s,
        job_s=job_s,
        load_s=(0.5, 2.0),
        residency=loaded or {},
    )


def fleet(*reports: Report) -> Fleet:
    made = Fleet("e", silent_s=5)
    for each in reports:
        made.hear(each, 0.0)
    return made


def given_to(fleet: Fleet, name: str) -> list[str]:
    orders = fleet.orders(name, report(name)).numbered
    return [order.job.id for _, order in orders if isinstance(order, Run)]


def test_a_job_goes_where_its_motion_is_loaded():
    made = fleet(report("a"), report("b", loaded={WAVE: "device"}), report("c"))
    made.offer(job("1", motions=[WAVE]))
    assert made.place() == {"b"}


def test_host_memory_is_nearer_than_disk():
    made = fleet(report("a"), report("b", loaded={WAVE: "host"}))
    made.offer(job("1", motions=[WAVE]))
    assert made.place() == {"b"}


def weighted(name: str, *parts: tuple[str, float]) -> Job:
    """A job with motions at weights."""
    motions = tuple(
        SpecMotion(id="m", version=1, sha256=sha256, weight=weight) for sha256, weight in parts
    )
    request = SPEC.model_copy(update={"motions": motions}).model_dump(mode="json")
    return Job(name, "ann", JobState.QUEUED, request, 0.0)


def mix_key(*parts: tuple[str, float]) -> str:
    """As a pool names a mix."""
    deltas = {WAVE: toy_delta(1), HAT: toy_delta(2)}
    records = {each: record_of(d).model_copy(update={"sha256": each}) for each, d in deltas.items()}
    return Mix.of([(records[sha256], weight) for sha256, weight in parts]).key


MIXED = ((HAT, 0.5), (WAVE, 1.0))


def test_a_job_goes_where_its_mix_is_ready_rather_than_its_motions():
    parts: dict[str, Level] = {WAVE: "device", HAT: "device"}
    made = fleet(report("a", loaded=parts), report("b", loaded={mix_key(*MIXED): "device"}))
    made.offer(weighted("1", *MIXED))
    assert made.place() == {"b"}


def test_a_sum_at_other_weights_is_another_one():
    ready: dict[str, Level] = {mix_key((HAT, 0.6), (WAVE, 1.0)): "device"}
    made = fleet(report("a", loaded=ready), report("b", loaded={WAVE: "host", HAT: "host"}))
    made.offer(weighted("1", *MIXED))
    assert made.place() == {"b"}


@pytest.mark.parametrize(("wait_s", "there"), [(0.4, "a"), (0.6, "b")])
def test_a_sum_costs_what_making_it_from_host_memory_takes(wait_s: float, there: str):
    ready = report("a", wait_s=wait_s, loaded={mix_key((WAVE, 0.5)): "device"})
    made = fleet(ready, report("b", loaded={WAVE: "device"}))
    made.offer(weighted("1", (WAVE, 0.5), (HAT, 0.0)))
    assert made.place() == {there}


def test_a_hot_motion_spreads_when_its_line_costs_more_than_loading_it():
    waits = {"jobs": ("x",), "loaded": {WAVE: "device"}}
    patient = fleet(report("a", wait_s=1.9, **waits), report("b"))
    patient.offer(job("1", motions=[WAVE]))
    assert patient.place() == {"a"}
    hurried = fleet(report("a", wait_s=2.1, **waits), report("b"))
    hurried.offer(job("1", motions=[WAVE]))
    assert hurried.place() == {"b"}


@pytest.mark.parametrize(("job_s", "there"), [(0.9, 3), (1.1, 2), (5.0, 1)])
def test_jobs_on_their_way_cost_what_a_job_takes_there(job_s, there):
    """Loading the motion elsewhere costs two seconds."""
    # What is being written keeps nobody waiting.
    warm = report("a", jobs=("x", "y"), room=8, job_s=job_s, loaded={WAVE: "device"})
    made = fleet(warm, report("b", room=8, job_s=100.0))
    for number in range(there + 1):
        made.offer(job(f"{number}", motions=[WAVE]))
    made.place()
    assert (len(given_to(made, "a")), len(given_to(made, "b"))) == (there, 1)


def test_jobs_on_their_way_count_as_a_line():
    made = fleet(report("a", room=8), report("b", room=8))
    for number in range(8):
        made.offer(job(f"{number}"))
    made.place()
    assert len(given_to(made, "a")) == len(given_to(made, "b")) == 4


def test_nobody_gets_more_than_there_is_room_for():
    made = fleet(report("a", room=2), report("b", room=1), report("c", room=5, ready=False))
    for number in range(9):
        made.offer(job(f"{number}"))
    made.place()
    assert (len(given_to(made, "a")), len(given_to(made, "b")), made.waiting) == (2, 1, 6)
    assert made.place() == set()


def test_the_first_job_of_everybody_comes_before_the_second_of_anybody():
    made = fleet(report("a", room=4))
    for number in range(100):
        made.offer(job(f"ann-{number}", "ann"))
    made.offer(job("bob-0", "bob"))
    made.offer(job("cyd-0", "cyd"))
    made.place()
    assert given_to(made, "a") == ["ann-0", "bob-0", "cyd-0", "ann-1"]
    made.hear(report("a", 2, seen=made.mark(), jobs=["ann-0", "ann-1"], room=1), 1.0)
    made.offer(job("bob-1", "bob"))
    made.place()
    assert given_to(made, "a")[-1] == "bob-1"  # ann has two in the replica


def test_an_order_is_repeated_until_it_was_seen():
    made = fleet(report("a"))
    made.offer(job("1"))
    made.place()
    [(number, _)] = made.orders("a", report("a")).numbered
    assert made.orders("a", report("a", 2)).numbered
    made.hear(report("a", 3, seen=number, jobs=["1"]), 1.0)
    assert not made.orders("a", report("a", 3, seen=number)).numbered


def test_a_number_of_an_earlier_router_says_nothing():
    made = fleet(report("a", epoch="earlier", seen=1000))
    made.offer(job("1"))
    made.place()
    assert made.orders("a", report("a", epoch="earlier", seen=1000)).numbered


def test_a_new_router_learns_from_the_reports_what_runs_where():
    made = fleet(report("a", jobs=["1"], epoch="earlier"), report("b"))
    made.match([job("1"), job("2")], made.mark())
    made.place()
    assert given_to(made, "a") + given_to(made, "b") == ["2"]
    assert made.cancel("1") == "a"
    assert any(order == LetGo("1") for _, order in made.orders("a", report("a")).numbered)


def test_jobs_of_a_lost_replica_go_to_another_once_the_store_has_them_queued():
    made = fleet(report("a"))
    made.offer(job("1"))
    made.place()
    made.hear(report("b"), 4.0)
    assert made.lose(5.5) == ["a"]
    assert made.place() == set()
    made.match([job("1")], made.mark())
    assert made.place() == {"b"}


def test_a_job_that_was_not_taken_on_can_be_given_again():
    made = fleet(report("a", room=1))
    made.offer(job("1"))
    made.place()
    made.hear(report("a", 2, seen=made.mark(), jobs=[], room=1), 1.0)
    made.match([job("1")], made.mark())
    assert made.place() == {"a"}


def test_an_overtaken_report_is_not_heeded():
    made = fleet(report("a", 2, room=0))
    made.hear(report("a", 1, room=5), 1.0)
    made.offer(job("1"))
    assert made.place() == set()


def test_matching_forgets_what_was_cancelled_but_not_what_has_just_come():
    made = fleet()
    made.offer(job("cancelled"))
    mark = made.mark()
    made.offer(job("new"))
    made.match([], mark)
    made.hear(report("a"), 0.0)
    made.place()
    assert given_to(made, "a") == ["new"]


@given(st.lists(st.integers(0, 11), max_size=60), st.data())
def test_every_job_is_given_to_exactly_one_replica(actions: list[int], data: st.DataObject):
    """Jobs come, replicas report late, twice and in any order: none is lost, none given twice."""
    made = Fleet("e", silent_s=1e9)
    seen: dict[str, int] = {"a": 0, "b": 0}
    inside: dict[str, list[str]] = {"a": [], "b": []}
    last = {name: report(name) for name in seen}
    offered: list[str] = []
    for step, action in enumerate(actions, 2):
        if action < 5:
            offered.append(f"{len(offered)}")
            made.offer(job(offered[-1], data.draw(st.sampled_from(["ann", "bob"]))))
        name = "ab"[action % 2]
        if action >= 5:
            if action < 10:  # it reports anew; otherwise its last report arrives again
                last[name] = dataclasses.replace(
                    report(name, step, jobs=inside[name], room=3), seen=seen[name]
                )
            made.hear(last[name], 0.0)
            made.place()
            for number, order in made.orders(name, last[name]).numbered:
                if number > seen[name] and isinstance(order, Run):
                    inside[name].append(order.job.id)
                seen[name] = max(seen[name], number)
    assert not set(inside["a"]) & set(inside["b"])
    for name in seen:
        assert len(inside[name]) == len(set(inside[name]))
        made.hear(report(name, 1000, jobs=inside[name], seen=seen[name], room=100), 0.0)
    made.place()
    coming = given_to(made, "a")[0:] + given_to(made, "b")
    assert sorted(inside["a"] + inside["b"] + coming) == sorted(offered)


def test_a_job_that_cannot_be_read_is_told_and_the_others_are_placed():
    made = fleet(report("a"))
    odd = dataclasses.replace(job("odd"), request={"prompt": "a robot"})
    refused = made.match([odd, job("good")], made.mark())
    assert set(refused) == {"odd"} and "cannot be read" in str(refused["odd"])
    made.place()
    assert given_to(made, "a") == ["good"]
