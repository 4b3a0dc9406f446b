"""Parts (b) and (d) of benchmarks/serve.py: many motions in one replica, without HTTP."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.pool import header, paper_delta, zipf
from benchmarks.served import Served, generate, progress
from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.jobs import AdmissionLimits, Job, NewJob
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.requests import GenerationSpec
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.serving.studio import write_file
from motion_ray.serving.tier import OVERHEAD
from motion_ray.store import DeltaRecord, DeltaStore
from motion_ray.threads import apart

# Jobs of the client that are accepted and not finished: one is written, one runs, two wait.
ALIVE = 4
WARM = 4  # generations, after which nothing happens for the first time, recording steps included
LOOK_S = 1.0  # at most between two looks at the jobs
STAGES = ("load", "denoise", "decode")  # of a job, while no other one is at them
FILL = 2  # requests for each motion at most, until the tiers are full
BLOCK = 10  # requests of one kind of traffic before the other one's turn
DEVICE_SHARE, HOST_SHARE = 0.1, 0.2  # of all motions that fit into each tier


def publish(folder: Path, backbone: UNet3DBackbone, motions: int) -> list[DeltaRecord]:
    """So many motions of the size that the paper trains, each with values of its own; those that an
    earlier part has published are there.
    """
    store = DeltaStore(folder)
    there = {name for name, _ in store.versions()}
    for number in progress(range(motions), "publishing motions"):
        if f"m{number}" not in there:
            store.publish(paper_delta(backbone, number), f"m{number}")
    return [store.resolve(f"m{number}") for number in range(motions)]


def pool_for(store: DeltaStore, backbone: UNet3DBackbone, motions: int, nbytes: int) -> MotionPool:
    """Budgets for a tenth and a fifth of the motions, and for at least two."""
    # float16 on disk, there as the base: float32, or bfloat16 on a GPU
    prepared = nbytes * next(backbone.denoiser.parameters()).element_size() // 2
    ready = max(int(prepared * motions * DEVICE_SHARE), 2 * prepared)
    host = max(int(nbytes * motions * HOST_SHARE), 2 * nbytes)
    config = PoolConfig(
        device_bytes=ready + OVERHEAD * motions, host_bytes=host + OVERHEAD * motions
    )
    return MotionPool(StoreSource(store), backbone, config)


@dataclass(frozen=True)
class Serving:
    """A replica with its job store, and what tells that a job has ended."""

    replica: Replica
    jobs: SqliteJobStore
    ended: threading.Event


@contextlib.contextmanager
def serving(
    folder: Path, backbone: UNet3DBackbone, store: DeltaStore, pool: MotionPool
) -> Iterator[Serving]:
    """A replica with a job store on disk, as in a server."""
    ended = threading.Event()
    jobs = SqliteJobStore(folder / "jobs.sqlite")
    catalog = MotionCatalog(store, backbone.fingerprint)
    engine = MotionEngine(backbone, pool, catalog)
    results = ResultFolder(folder / "videos")
    config = ReplicaConfig(queue=64)
    replica = Replica("one", engine, jobs, results, write_file, config, ended=ended.set)
    try:
        yield Serving(replica, jobs, ended)
    finally:
        replica.close(0)
        pool.close()
        jobs.close()


def drive(serving: Serving, specs: Sequence[GenerationSpec]) -> list[Job]:
    """All jobs, finished, of a client with a few jobs at a time. It is told of ends, since asking
    takes time from what is measured.
    """
    alive: list[Job] = []
    ended: list[Job] = []
    waiting = list(specs)
    while waiting or alive:
        while waiting and len(alive) < ALIVE:
            request = waiting.pop(0).model_dump(mode="json")
            job = serving.jobs.create(NewJob("", request, "benchmark"), AdmissionLimits()).job
            serving.replica.submit(job)
            alive.append(job)
        serving.ended.wait(LOOK_S)
        serving.ended.clear()
        for job in [serving.jobs.get(job.id) for job in alive]:
            if job.finished_at is not None:
                assert job.result is not None, job.failure
                ended.append(job)
                alive = [each for each in alive if each.id != job.id]
    return ended


# --- (b) latency ----------------------------------------------------------------------------------


def latency_of(job: Job) -> float:
    """Seconds from acceptance to the end."""
    assert job.finished_at is not None
    return job.finished_at - job.created_at


def latency(folder: Path, shelf: Path, motions: int, requests: int, served: Served) -> None:
    """Many motions, of the store ``shelf``, against one, by turns."""
    backbone = apart(served.open)
    store = DeltaStore(shelf)
    records = apart(lambda: publish(shelf, backbone, motions))
    pool = pool_for(store, backbone, motions, records[0].nbytes)
    drawn = [served.spec(records[number]) for number in zipf(motions, requests + FILL * motions)]
    many, filling = drawn[:requests], drawn[requests:]
    one = [served.spec(records[0])] * requests
    jobs: dict[str, list[Job]] = {"many": [], "one": []}
    wall = dict.fromkeys(jobs, 0.0)
    with serving(folder, backbone, store, pool) as served_here:
        drive(served_here, one[:WARM])
        while filling and not pool.statistics().host.evictions:
            # A server that has run for a while: what is asked for most is there.
            turn, filling = filling[:BLOCK], filling[BLOCK:]
            drive(served_here, turn)
        for start in progress(range(0, requests, BLOCK), "turns"):
            for kind, specs in (("many", many), ("one", one)):
                began = time.perf_counter()
                jobs[kind] += drive(served_here, specs[start : start + BLOCK])
                wall[kind] += time.perf_counter() - began
        found = pool.statistics()
        recorded = 0 if backbone.recorder is None else backbone.recorder.recorded
    middle = {kind: statistics.median(map(latency_of, each)) for kind, each in jobs.items()}
    print(f"(b) latency, {motions} motions under Zipf(1.0) against one, {requests} requests each")
    print(f"    median {middle['many']:.3f} s : {middle['one']:.3f} s")
    print(f"    ratio  {middle['many'] / middle['one']:.3f}")
    asked = found.device.hits + found.device.misses
    print(f"    ready  {100 * found.device.hits / asked:.1f} % of all requests", end=", ")
    print(f"{found.host.evictions} left for room; recorded steps: {recorded}")
    for kind, each in jobs.items():
        stages = {n: 1e3 * statistics.fmean(j.timings[n] for j in each) for n in STAGES}
        told = ", ".join(f"{name} {mean:.1f}" for name, mean in stages.items())
        rest = 1e3 * wall[kind] / requests - sum(stages.values())
        beside = 1e3 * statistics.fmean(j.timings["encode"] for j in each)
        print(f"    {kind:<5}  ms a video, on average: {told}, all else {rest:.1f};", end=" ")
        print(f"beside the next one: encode {beside:.1f}")


# --- (d) a thousand motions -----------------------------------------------------------------------


def small_delta(backbone: UNet3DBackbone, number: int) -> MotionDelta:
    """Other values for one matrix, so that a thousand of them fit on a disk."""
    name, value = next(
        (name, each)
        for name, each in backbone.denoiser.named_parameters()
        if name.endswith("attn1.to_v.weight") and "temp_attentions" in name
    )
    generator = torch.Generator().manual_seed(number)
    value = value.cpu()
    changed = value + value.std() * torch.randn(value.shape, generator=generator)
    return MotionDelta(header(backbone.fingerprint, f"m{number}", number), {name: changed})


def output(backbone: UNet3DBackbone, spec: GenerationSpec) -> str:
    """Sha256 of a video with whatever is applied to the base."""
    return hashlib.sha256(generate(backbone, spec).frames.cpu().numpy().tobytes()).hexdigest()


def thousand(folder: Path, motions: int, requests: int, served: Served) -> None:
    """The right output for every request, in budgets of a twentieth and a tenth of all motions."""
    backbone = served.open()
    store = DeltaStore(folder)
    deltas = (small_delta(backbone, number) for number in range(motions))
    small = functools.partial(served.spec, steps=1, frames=2, width=32, height=32)
    expected: list[str] = []
    records: list[DeltaRecord] = []
    for number, delta in enumerate(deltas):
        records.append(store.resolve(store.publish(delta, f"m{number}")))
        with delta.applied(backbone):  # the reference: no pool, no store
            expected.append(output(backbone, small(records[-1])))
    size = records[0].nbytes + OVERHEAD
    config = PoolConfig(device_bytes=size * motions // 20, host_bytes=size * motions // 10)
    pool = MotionPool(StoreSource(store), backbone, config)
    catalog = MotionCatalog(store, backbone.fingerprint)
    process, memory, wrong = psutil.Process(), list[int](), 0
    for count, number in enumerate(zipf(motions, requests)):
        spec = small(records[number])
        with pool.lease(spec.mix(catalog)) as lease, lease.applied():
            wrong += output(backbone, spec) != expected[number]
        if count % max(1, requests // 20) == 0:
            memory.append(process.memory_info().rss)
    found = pool.statistics()
    pool.close()
    print(f"(d) {motions} motions, {requests} Zipf(1.0) requests, budgets of 5 % and 10 % of them")
    print(f"    different outputs expected: {len(set(expected))}; wrong: {wrong}")
    print(f"    read from disk: {found.host.loads}, left for room: {found.device.evictions}")
    print(f"    memory at the end : in the middle  {memory[-1] / memory[len(memory) // 2]:.3f}")
