"""Clients and workers of a job store that are killed again and again, and what is left of their
jobs.

A script, ``python -m tests.serving.job_crash FOLDER KILLS SEED [URL]``, apart from the test process
because it forks, which must happen before there are threads. With the address of a PostgreSQL
database the jobs are in that, else in a file. Prints one JSON line.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from motion_ray.files import write_bytes_atomic
from motion_ray.serving.jobs import FINAL, AdmissionLimits, EventKind, JobState, NewJob
from motion_ray.serving.postgres_jobs import PostgresJobStore
from motion_ray.serving.results import ResultFolder, sweep, tidy
from motion_ray.serving.sql_jobs import SqlJobStore
from motion_ray.serving.sqlite_jobs import SqliteJobStore

LEASE = 0.25  # seconds: far longer than a job takes here, short enough to see losses
WORKERS, CLIENTS = 3, 2
LIMITS = AdmissionLimits(queued=30)


@dataclass
class Outcome:
    """What the loop saw.

    Attributes:
        kills: processes killed.
        accepted: jobs that a client was told are accepted.
        finished: jobs that succeeded.
        requeued: times that a job came back because its worker was killed.
        repeated: answers to a repeated idempotency key.
        wrong: everything that must not be, in words.
    """

    kills: int = 0
    accepted: int = 0
    finished: int = 0
    requeued: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)


def content(job: str) -> bytes:
    """The video of a job."""
    return (job * 50).encode()


class Swarm:
    """The processes, and what the clients among them were told."""

    def __init__(self, root: Path, seed: int, url: str | None) -> None:
        self.root, self.url = root, url
        self.store = self.open()
        self.results = ResultFolder(root / "results", grace_s=60)
        self.swept = ResultFolder(root / "results", grace_s=-1)
        self.chance = random.Random(seed)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.children: dict[int, Callable[[int], None]] = {}
        self.told = b""

    def open(self) -> SqlJobStore:
        """For this process; one that is in a file is inherited by children."""
        if self.url is None:
            return SqliteJobStore(self.root / "jobs.sqlite", most_losses=10**6)
        return PostgresJobStore(self.url, "crash", "here", most_losses=10**6)

    def spawn(self, role: Callable[[int], None]) -> None:
        """Start a process that plays a role until it is killed."""
        seed = self.chance.randrange(2**31)
        child = os.fork()
        if child == 0:
            try:
                if self.url is not None:
                    self.store = self.open()
                role(seed)
            finally:
                os._exit(1)
        self.children[child] = role

    def kill(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        del self.children[child]

    def listen(self) -> None:
        while True:
            try:
                self.told += os.read(self.reader, 65536)
            except BlockingIOError:
                return

    # --- roles ------------------------------------------------------------------------------------

    def client(self, seed: int) -> None:
        """Ask for jobs; some are asked for twice. What was accepted is told afterwards."""
        chance = random.Random(seed)
        while True:
            if len(self.store.queued()) >= 20:
                time.sleep(0.005)
                continue
            key = f"{seed}-{chance.randrange(10**9)}"
            for _ in range(chance.choice((1, 1, 2))):
                new = NewJob("ann", {"prompt": key}, key, idempotency_key=key)
                created = self.store.create(new, LIMITS)
                line = f"{key} {created.job.id} {int(created.fresh)}\n"
                os.write(self.writer, line.encode())

    def worker(self, seed: int) -> None:
        """Run jobs, tidy up now and then, never stop."""
        chance, name = random.Random(seed), f"worker-{seed}"
        while True:
            tidy(self.store, self.results)
            waiting = self.store.queued(limit=5)
            if not waiting:
                time.sleep(0.005)
                continue
            job = self.store.start(chance.choice(waiting).id, name, LEASE)
            if job is None:
                continue
            for step in range(1, 4):
                time.sleep(chance.uniform(0, 0.002))
                if not self.store.beat(job.claim, LEASE, step, 3).held:
                    break
            result = self.results.keep(
                job.claim, lambda path, of=job.id: write_bytes_atomic(path, content(of))
            )
            if not self.store.succeed(job.claim, result, {}):
                self.results.remove(result.file)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, kills: int) -> Outcome:
        outcome = Outcome()
        if self.url is not None:
            self.store.close()  # and its threads: children are forked
        for role in [self.worker] * WORKERS + [self.client] * CLIENTS:
            self.spawn(role)
        while outcome.kills < kills:
            time.sleep(self.chance.uniform(0, 0.03))
            self.listen()
            victim = self.chance.choice(sorted(self.children))
            role = self.children[victim]
            self.kill(victim)
            outcome.kills += 1
            self.spawn(role)
        for child in [pid for pid, role in self.children.items() if role == self.client]:
            self.kill(child)
        if self.url is not None:
            self.store = self.open()
        until = time.monotonic() + 60
        while any(not job.state.final for job in self.store.page(limit=10**6).jobs):
            if time.monotonic() > until:
                outcome.wrong.append("the survivors did not finish")
                break
            time.sleep(0.02)
        for child in list(self.children):
            self.kill(child)
        self.listen()
        self.judge(outcome)
        return outcome

    def judge(self, outcome: Outcome) -> None:
        told = [line.split() for line in self.told.decode().splitlines()]
        jobs = {job.id: job for job in self.store.page(limit=10**6).jobs}
        by_key: dict[str, set[str]] = collections.defaultdict(set)
        for key, job, fresh in told:
            by_key[key].add(job)
            outcome.repeated += fresh == "0"
            if job not in jobs:
                outcome.wrong.append(f"{job} was accepted and is lost")
        outcome.accepted = len({job for _, job, _ in told})
        outcome.wrong += [
            f"{key} made {len(ids)} jobs" for key, ids in by_key.items() if len(ids) > 1
        ]
        if len({job.request["prompt"] for job in jobs.values()}) != len(jobs):
            outcome.wrong.append("a key has two jobs")
        tidy(self.store, self.results)
        sweep(self.store, self.swept)  # nobody writes any more: what is left over goes at once
        for job in jobs.values():
            if job.state is not JobState.SUCCEEDED or job.result is None:
                outcome.wrong.append(f"{job.id} is {job.state} ({job.failure})")
                continue
            outcome.finished += 1
            if self.results.path(job.result.file).read_bytes() != content(job.id):
                outcome.wrong.append(f"{job.id} has another video")
            events = self.store.events(job.id)
            kinds = [event.kind for event in events]
            outcome.requeued += kinds.count(EventKind.REQUEUED)
            if sum(kind.value in FINAL for kind in kinds) != 1 or kinds[-1] != "succeeded":
                outcome.wrong.append(f"{job.id} ended more than once: {kinds}")
            if kinds.count(EventKind.STARTED) != job.attempt:
                outcome.wrong.append(f"{job.id}: {job.attempt} attempts, {kinds}")
        kept = {job.result.file for job in jobs.values() if job.result}
        if self.results.names() != kept:
            outcome.wrong.append(f"left over: {sorted(self.results.names() ^ kept)[:5]}")
        if self.url is None:
            with sqlite3.connect(self.root / "jobs.sqlite") as connection:
                (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                outcome.wrong.append(f"the file is damaged: {verdict}")
        self.store.close()


def main() -> None:
    """Run the loop."""
    root, kills, seed = sys.argv[1:4]
    url = sys.argv[4] if len(sys.argv) > 4 else None
    print(json.dumps(asdict(Swarm(Path(root), int(seed), url).run(int(kills)))))


if __name__ == "__main__":
    main()
