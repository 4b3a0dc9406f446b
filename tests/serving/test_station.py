"""A replica's end of the line: reports that do not contradict themselves, orders that go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from motion_ray.serving import line
from motion_ray.serving.line import Line
from motion_ray.serving.orders import Hold, Orders, Report, Run, Unload, Unpin
from motion_ray.serving.pool import MotionPool
from motion_ray.serving.replica import Replica
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.station import Station
from tests.serving.fake_engine import accept, write
from tests.serving.toy import Library, ToyBase, record_of, single, toy_delta
from tests.waiting import until


@pytest.fixture
def replica(tmp_path, store, engine) -> Iterator[Replica]:
    replica = Replica("a", engine, store, ResultFolder(tmp_path / "videos"), write)
    yield replica
    engine.go_on.set()
    replica.close(0)


@pytest.fixture
def station(replica) -> Iterator[Station]:
    pool = MotionPool(Library(toy_delta(1)), ToyBase())
    station = Station("a", replica, pool, queue=8)
    yield station
    station.close()
    pool.close()


def test_a_report_lists_every_job_whose_order_it_has_seen(
    station, replica, store, engine, monkeypatch
):
    """Also if the order is followed while the report is written."""
    engine.go_on.clear()
    orders = Orders("e", ((1, Run(accept(store))),))
    first, jobs = station.report(), replica.jobs

    def meanwhile() -> frozenset[str]:
        before = jobs()
        station.follow(orders, first)
        return before

    station.follow(Orders("e"), first)
    monkeypatch.setattr(replica, "jobs", meanwhile)
    report = station.report()
    assert report.epoch == "e" and (report.seen == 0 or report.jobs)
    monkeypatch.undo()
    assert station.report().seen == 1 and station.report().jobs


def test_an_order_that_goes_wrong_holds_up_no_other(station, replica, store, monkeypatch, caplog):
    submit = replica.submit

    def broken(job) -> None:
        if job.id == bad.id:
            raise KeyError("oops")
        submit(job)

    bad, good = accept(store), accept(store)
    monkeypatch.setattr(replica, "submit", broken)
    station._motions.close()  # so that an order about a motion cannot even be queued
    hold = Hold(record_of(toy_delta(1)), "host", pinned=False)
    station.follow(Orders("e", ((1, Run(bad)), (2, hold), (3, Run(good)))), station.report())
    report = station.report()
    assert report.seen == 3 and "could not follow order 1" in caplog.text
    [outcome] = report.outcomes
    assert (outcome.number, outcome.done) == (2, False)
    assert outcome.fault is not None and "could not do that" in str(outcome.fault)


def test_a_line_whose_orders_cannot_be_followed_does_not_race(station, monkeypatch):
    monkeypatch.setattr(line, "RETRY_S", 0.2)
    reports = 0

    def broken(*args: Any) -> None:
        raise RuntimeError("oops")

    async def exchange(report: Report) -> Orders:
        nonlocal reports
        reports += 1
        return Orders("e")

    async def main() -> None:
        running = asyncio.create_task(Line(station, exchange).run())
        await asyncio.sleep(1.0)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    monkeypatch.setattr(station, "follow", broken)
    asyncio.run(main())
    assert 1 <= reports <= 6


def outcomes(station: Station) -> dict[int, bool]:
    return {outcome.number: outcome.done for outcome in station.report().outcomes}


def test_an_unload_that_waits_holds_up_only_its_motion(replica):
    library = Library()
    held, other = library.add(toy_delta(1)), library.add(toy_delta(2))
    pool = MotionPool(library, ToyBase())
    station = Station("a", replica, pool, queue=8)
    lease = pool.lease(single(held))
    orders = (
        Unload(held, 600.0),
        Hold(held, "host", pinned=True),
        Hold(other, "device", pinned=True),
        Unpin(other),
        Unload(other, 600.0),  # nobody holds it: not a moment is waited
    )
    station.follow(Orders("e", tuple(enumerate(orders, 1))), station.report())
    until(lambda: set(outcomes(station)) == {3, 4, 5})
    lease.release()
    until(lambda: len(outcomes(station)) == 5)
    assert all(outcomes(station).values())
    assert pool.pinned() == {held.sha256: "host"}  # pinned after it was unloaded, not before
    station.close()
    pool.close()


def test_an_unload_whose_time_is_over_says_so(replica):
    library = Library()
    record = library.add(toy_delta(1))
    pool = MotionPool(library, ToyBase())
    station = Station("a", replica, pool, queue=8)
    with pool.lease(single(record)):
        orders = ((1, Unload(record, 0.05)), (2, Unload(record, 0.0)))
        station.follow(Orders("e", orders), station.report())
        until(lambda: outcomes(station) == {1: False, 2: False})
    station.close()
    pool.close()
