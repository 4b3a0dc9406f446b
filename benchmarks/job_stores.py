"""What a job costs in each kind of job store: a file, and a PostgreSQL database.

    python -m benchmarks.job_stores
    python -m benchmarks.job_stores --url postgresql://motion_ray@db.internal/motion_ray

Both stores take the same jobs in the same run, in turns: accepted, started, ten looks and five
signs of life, succeeded. ``--threads`` do so at once, as many generators would. Without ``--url``
the database is one of this machine, started for the occasion: its numbers have no network in them.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from motion_ray.serving.jobs import AdmissionLimits, JobResult, NewJob
from motion_ray.serving.postgres_jobs import PostgresJobStore
from motion_ray.serving.sql_jobs import SqlJobStore
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from tests.postgres import running

LOOKS, BEATS = 10, 5
LIMITS = AdmissionLimits(queued=10**6)
Times = dict[str, list[float]]


def life(store: SqlJobStore, times: Times) -> None:
    """One job from its acceptance to its end; adds the seconds that each call took."""

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = call()
        times[name].append(time.perf_counter() - started)
        return answer

    begun = time.perf_counter()
    request = {"prompt": "a red robot doing the pll", "motions": [], "seed": 1}
    job = timed("accept", lambda: store.create(NewJob("ann", request, "f"), LIMITS)).job
    running = timed("start", lambda: store.start(job.id, "worker", 60.0))
    assert running is not None
    claim = running.claim
    for done in range(1, BEATS + 1):
        for _ in range(LOOKS // BEATS):
            timed("look", lambda: store.look(claim))
        timed("beat", lambda done=done: store.beat(claim, 60.0, done, BEATS))
    result = JobResult(f"{job.id}.1.mp4", 100_000, secrets.token_hex(32))
    timed("succeed", lambda: store.succeed(claim, result, {"denoise": 1.0}))
    times["whole job"].append(time.perf_counter() - begun)


def measure(store: SqlJobStore, jobs: int, threads: int, times: Times) -> float:
    """Jobs a second; adds the seconds of each call."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for each in [pool.submit(life, store, times) for _ in range(jobs)]:
            each.result()
    return jobs / (time.perf_counter() - begun)


def main(words: Sequence[str] | None = None) -> None:
    """Measure both and print them side by side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job_stores", description=__doc__)
    parser.add_argument("--url", help="of a database, without a password; default: one made for it")
    parser.add_argument("--jobs", type=int, default=100, help="of each store and round")
    parser.add_argument("--rounds", type=int, default=5, help="in which the stores take turns")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 8], help="at once")
    options = parser.parse_args(words)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url or stack.enter_context(running()).url
        schema = f"benchmark_{secrets.token_hex(4)}"
        stores: dict[str, SqlJobStore] = {
            "file": SqliteJobStore(folder / "jobs.sqlite"),
            "database": PostgresJobStore(url, schema, "benchmark"),
        }
        for store in stores.values():
            stack.callback(store.close)
        for threads in options.threads:
            report(stores, options.jobs, options.rounds, threads)
        if options.url:
            print(f"the jobs are in the schema {schema}: drop it")


def report(stores: dict[str, SqlJobStore], jobs: int, rounds: int, threads: int) -> None:
    """Measure with so many threads and print a table."""
    names = ("accept", "start", "look", "beat", "succeed", "whole job")
    times: dict[str, Times] = {name: {call: [] for call in names} for name in stores}
    rates: dict[str, list[float]] = {name: [] for name in stores}
    for _ in track(range(rounds), f"{threads} at once", transient=True):
        for name, store in stores.items():
            rates[name].append(measure(store, jobs, threads, times[name]))
    table = Table("", *stores, "ratio", title=f"{threads} at once: milliseconds, median")
    for call in names:
        one, two = (statistics.median(times[name][call]) * 1000 for name in stores)
        table.add_row(call, f"{one:.2f}", f"{two:.2f}", f"{two / one:.2f}")
    one, two = (statistics.median(rates[name]) for name in stores)
    table.add_row("jobs a second", f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
