"""Router and replicas without Ray: the line between them may break anywhere, and no job is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.errors import DeltaError, PoolBusyError, PoolError
from motion_ray.serving.dispatcher import Dispatcher, Pace
from motion_ray.serving.jobs import AdmissionLimits, Job, JobState, NewJob
from motion_ray.serving.line import Exchange, Line
from motion_ray.serving.orders import Orders, Report
from motion_ray.serving.pins import PinFile
from motion_ray.serving.pool import Level, MotionPool
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.serving.station import Station
from motion_ray.store import DeltaRecord
from tests.serving.fake_engine import FakeEngine, accept, write
from tests.serving.toy import Library, ToyBase, record_of, toy_delta
from tests.waiting import until_true

PACE = Pace(poll_s=0.2, silent_s=1.0, tidy_s=0.1, load_s=10.0)
LEASE_S = 1.0


class Server:
    """A router, and replicas that come and go, around one store in a folder."""

    def __init__(self, folder: Path, pace: Pace = PACE) -> None:
        self.folder, self.pace = folder, pace
        self.jobs = SqliteJobStore(folder / "jobs.sqlite")
        self.results = ResultFolder(folder / "videos")
        self.library = Library(toy_delta(1), toy_delta(2))
        self.record = record_of(toy_delta(1))
        self.router = self.new_router()
        self.engines: dict[str, FakeEngine] = {}
        self.pools: dict[str, MotionPool] = {}

    def new_router(self) -> Dispatcher:
        return Dispatcher(self.jobs, self.results, PinFile(self.folder / "pins.json"), self.pace)

    @asynccontextmanager
    async def replica(
        self, name: str, exchange: Exchange | None = None, queue: int = 8
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A replica; left, it is closed in peace. Cancel the task to cut it off from the router."""
        engine, pool = FakeEngine(), MotionPool(self.library, ToyBase())
        self.engines[name], self.pools[name] = engine, pool
        config = ReplicaConfig(queue=queue, lease_s=LEASE_S, retry_s=0)
        changed: list[Callable[[], None]] = []
        replica = Replica(
            name, engine, self.jobs, self.results, write, config, ended=lambda: changed[0]()
        )
        station = Station(name, replica, pool, queue)
        line = Line(station, exchange or self.exchange)
        changed.append(line.changed)
        running = asyncio.create_task(line.run())
        try:
            yield running
        finally:
            engine.go_on.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            station.close()
            await asyncio.to_thread(replica.close, 0.0)
            await self.router.leave(name)
            pool.close()

    async def exchange(self, report: Report) -> Orders:
        return await self.router.exchange(report)

    async def ended(self, *jobs: Job) -> list[Job]:
        await until_true(lambda: all(self.jobs.get(job.id).state.final for job in jobs))
        return [self.jobs.get(job.id) for job in jobs]


def serve(folder: Path, story: Callable[[Server], Awaitable[None]], pace: Pace = PACE) -> None:
    """Run a story with a router that is started before and closed afterwards."""

    async def main() -> None:
        server = Server(folder, pace)
        await server.router.start()
        try:
            await story(server)
        finally:
            await server.router.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_jobs_become_videos_on_several_replicas(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a"), server.replica("b"):
            jobs = [accept(server.jobs, seed=10 + number) for number in range(12)]
            for job in jobs:
                await server.router.dispatch(job)
            found = await server.ended(*jobs)
            assert {job.state for job in found} == {JobState.SUCCEEDED}
            assert {job.worker for job in found} == {"a", "b"}
            assert {job.attempt for job in found} == {1}

    serve(tmp_path, story)


def test_two_servers_share_their_jobs(tmp_path: Path) -> None:
    """As while one takes the other's place: everything is done, and once."""

    async def story(server: Server) -> None:
        other = server.new_router()
        await other.start()
        async with server.replica("a"), server.replica("b", other.exchange):
            for engine in server.engines.values():
                engine.go_on.clear()  # until both are at work, so that neither does everything
            jobs = [accept(server.jobs, seed=10 + number) for number in range(20)]
            for number, job in enumerate(jobs):
                await (server.router, other)[number % 2].dispatch(job)
            both = [engine.entered for engine in server.engines.values()]
            await until_true(lambda: all(entered.is_set() for entered in both))
            for engine in server.engines.values():
                engine.go_on.set()
            found = await server.ended(*jobs)
            assert {job.state for job in found} == {JobState.SUCCEEDED}
            assert {job.worker for job in found} == {"a", "b"}
            assert {job.attempt for job in found} == {1}
            assert len(server.results.names()) == len(jobs)
        await other.close()

    serve(tmp_path, story)


def test_what_an_earlier_router_accepted_is_handed_out(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        job = accept(server.jobs)
        async with server.replica("a"):
            [found] = await server.ended(job)
            assert found.state is JobState.SUCCEEDED

    serve(tmp_path, story)


def test_a_router_that_closes_as_a_replica_leaves_does_close(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        for _ in range(20):
            router = server.new_router()
            await router.start()
            await asyncio.sleep(0.02)  # it has looked, and waits to look again
            await router.leave("nobody")
            await asyncio.wait_for(router.close(), 5)

    serve(tmp_path, story)


def test_an_idle_replica_reports_once_a_poll(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        reports = 0

        async def counted(report: Report) -> Orders:
            nonlocal reports
            reports += 1
            return await server.router.exchange(report)

        async with server.replica("a", counted):
            job = accept(server.jobs, steps=1)
            await server.router.dispatch(job)
            await server.ended(job)
            await asyncio.sleep(0.3)
            before = reports
            await asyncio.sleep(5 * PACE.poll_s)
            assert reports - before <= 6

    serve(tmp_path, story)


def test_an_order_reaches_a_replica_at_once(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a"):
            await until_true(lambda: bool(server.router._answers))
            loop = asyncio.get_running_loop()
            job = accept(server.jobs, steps=1)
            started = loop.time()
            await server.router.dispatch(job)
            await server.ended(job)
            assert loop.time() - started < seldom.poll_s / 2

    seldom = Pace(poll_s=20.0, silent_s=60.0, tidy_s=60.0)  # so nothing else gives it the order
    serve(tmp_path, story, seldom)


def test_who_waits_for_a_job_hears_at_once_that_it_has_ended(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a"):
            server.engines["a"].go_on.clear()
            job = accept(server.jobs)
            await server.router.dispatch(job)
            waiting = asyncio.create_task(server.router.settled(job.id, 30))
            await server.router.settled(job.id, 0.01)  # another one who gives up
            await until_true(lambda: server.jobs.get(job.id).state is JobState.RUNNING)
            assert not waiting.done()
            server.engines["a"].go_on.set()
            await asyncio.wait_for(waiting, 20)
            assert server.jobs.get(job.id).state is JobState.SUCCEEDED

    serve(tmp_path, story)


def test_a_cancellation_stops_within_one_step(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a"):
            engine = server.engines["a"]
            engine.go_on.clear()
            job = accept(server.jobs, steps=1000)
            await server.router.dispatch(job)
            await asyncio.to_thread(engine.entered.wait, 20)
            server.jobs.cancel(job.id)
            await server.router.cancel(job.id)
            await asyncio.sleep(0.3)
            engine.go_on.set()
            [found] = await server.ended(job)
            assert found.state is JobState.CANCELLED and engine.stepped <= 1

    serve(tmp_path, story)


def test_a_replica_that_is_cut_off_loses_its_jobs_to_another(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a") as line:
            server.engines["a"].go_on.clear()
            jobs = [accept(server.jobs) for _ in range(3)]
            for job in jobs:
                await server.router.dispatch(job)
            await until_true(lambda: server.jobs.get(jobs[0].id).state is JobState.RUNNING)
            line.cancel()  # as if its process were gone, as far as the router can see
            async with server.replica("b"):
                waiting = await server.ended(*jobs[1:])
                assert {job.worker for job in waiting} == {"b"}
            assert server.jobs.get(jobs[0].id).state is JobState.RUNNING  # its claim is renewed

    serve(tmp_path, story)


def test_a_router_that_comes_back_goes_on(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        async with server.replica("a"):
            engine = server.engines["a"]
            engine.go_on.clear()
            jobs = [accept(server.jobs) for _ in range(12)]
            for job in jobs:
                await server.router.dispatch(job)
            await until_true(lambda: server.jobs.get(jobs[0].id).state is JobState.RUNNING)
            await server.router.close()
            server.router = server.new_router()
            await server.router.start()
            engine.go_on.set()
            found = await server.ended(*jobs)
            assert {(job.state, job.attempt) for job in found} == {(JobState.SUCCEEDED, 1)}

    serve(tmp_path, story)


def test_no_job_is_lost_or_run_twice_on_a_bad_line(tmp_path: Path) -> None:
    """A third of all reports and a third of all answers are lost or late."""

    async def story(server: Server) -> None:
        chance = random.Random(0)

        async def bad(report: Report) -> Orders:
            if chance.random() < 0.3:
                raise ConnectionError("lost on the way there")
            await asyncio.sleep(chance.random() * 0.05)
            orders = await server.router.exchange(report)
            if chance.random() < 0.3:
                raise ConnectionError("lost on the way back")
            return orders

        async with server.replica("a", bad, queue=2), server.replica("b", bad, queue=2):
            jobs = [accept(server.jobs, steps=1) for _ in range(20)]
            for job in jobs:
                await server.router.dispatch(job)
            found = await server.ended(*jobs)
            assert {(job.state, job.attempt) for job in found} == {(JobState.SUCCEEDED, 1)}

    serve(tmp_path, story)


def test_motions_are_loaded_pinned_and_unloaded_where_they_should_be(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        record = server.record
        with pytest.raises(PoolBusyError):
            await server.router.load(record, "host", 1)
        async with server.replica("a"), server.replica("b"):
            await until_true(lambda: len(server.router._fleet.members) == 2)
            await server.router.load(record, "host", 1)
            places = [pool.place(record) for pool in server.pools.values()]
            assert sorted(places) == ["disk", "host"]
            await server.router.pin(record, "device", 2)
            assert [pool.place(record) for pool in server.pools.values()] == ["device"] * 2
            async with server.replica("c"):
                await server.router.unpin(record)
                assert all(record.sha256 not in pool.pinned() for pool in server.pools.values())
                assert await server.router.unload(record, 1.0)
            places = [pool.place(record) for pool in server.pools.values()]
            assert places == ["disk"] * 3
            server.library.broken.add(record.sha256)
            with pytest.raises(DeltaError):
                await server.router.pin(record, "device", 1)

    serve(tmp_path, story)


def test_a_replica_that_does_not_answer_has_neither_loaded_nor_let_go(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        hung = asyncio.Event()

        async def exchange(report: Report) -> Orders:
            orders = await server.exchange(report)
            if orders.numbered:
                await hung.wait()
            return orders

        async with server.replica("a", exchange):
            await until_true(lambda: len(server.router._fleet.members) == 1)
            with pytest.raises(PoolBusyError, match="did not answer"):
                await server.router.load(server.record, "device", 1)
            assert not await server.router.unload(server.record, 0.0)
            hung.set()

    serve(tmp_path, story, replace(PACE, silent_s=60.0, load_s=0.5))


def test_a_pin_outlives_replica_and_router(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        sha256 = server.record.sha256
        async with server.replica("a"):
            await until_true(lambda: bool(server.router._fleet.members))
            await server.router.pin(server.record, "device", 1)
        await server.router.close()
        server.router = server.new_router()
        await server.router.start()
        async with server.replica("b"):
            await until_true(lambda: sha256 in server.pools["b"].pinned())

    serve(tmp_path, story)


def test_a_pin_that_found_no_room_is_ordered_again(tmp_path: Path, caplog) -> None:
    async def story(server: Server) -> None:
        sha256 = server.record.sha256
        faults = [PoolBusyError("the device tier", "no room at this moment", "ask again")]
        async with server.replica("a"):
            await until_true(lambda: bool(server.router._fleet.members))
            await server.router.pin(server.record, "device", 2)
            async with server.replica("b"):
                pool = server.pools["b"]
                pin = pool.pin

                def busy_at_first(record: DeltaRecord, level: Level = "device") -> None:
                    if faults:
                        raise faults.pop()
                    pin(record, level)

                pool.pin = busy_at_first
                await until_true(lambda: sha256 in pool.pinned())
        assert not faults and "no room at this moment" in caplog.text

    serve(tmp_path, story)


def test_a_pin_that_can_never_fit_is_told_and_not_ordered_again(tmp_path: Path, caplog) -> None:
    async def story(server: Server) -> None:
        tries = 0
        async with server.replica("a"):
            await until_true(lambda: bool(server.router._fleet.members))
            await server.router.pin(server.record, "device", 2)
            async with server.replica("b"):

                def never(record: DeltaRecord, level: Level = "device") -> None:
                    nonlocal tries
                    tries += 1
                    raise PoolError("the device tier", "is too small", "raise the budget")

                server.pools["b"].pin = never
                await until_true(lambda: tries > 0)
                await asyncio.sleep(5 * PACE.tidy_s)
                assert tries == 1
        assert "is too small" in caplog.text

    serve(tmp_path, story)


def test_a_job_that_cannot_be_read_fails_and_holds_up_nobody(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        new = NewJob("ann", {"prompt": "a robot", "colour": "red"}, "f")
        odd = server.jobs.create(new, AdmissionLimits()).job
        good = accept(server.jobs)
        async with server.replica("a"):
            [failed, made] = await server.ended(odd, good)
            assert made.state is JobState.SUCCEEDED
            assert failed.failure is not None and failed.failure.code == "invalid_value"
            assert "cannot be read by this version" in failed.failure.message

    serve(tmp_path, story)
