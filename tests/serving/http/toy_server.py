"""A whole server over a base model of four parameters: everything is real but the network."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from motion_ray.diffusion.sampler import OnStep
from motion_ray.errors import Cancelled
from motion_ray.files import write_bytes_atomic
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.engine import Generation
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.local import LocalBackend
from motion_ray.serving.http.ports import Keys, Services
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import Level, MotionPool, PoolConfig
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.requests import GenerationSpec, ServingProfile
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.serving.uploads import BaseLayout
from motion_ray.store import DeltaStore
from motion_ray.types import GeneratedVideo
from tests.serving.toy import FINGERPRINT, ToyBase, toy_delta

PROFILE = ServingProfile(base="toy", frames=8, width=64, height=64, steps=4, guidance=1)
CRASHES = 666  # the seed with which the engine meets a bug


class ToyEngine:
    """Takes its steps as slowly as a test wants, with the motion applied to the toy base."""

    def __init__(self, base: ToyBase, pool: MotionPool, catalog: MotionCatalog) -> None:
        self._base, self._pool, self._catalog = base, pool, catalog
        self.step_s = 0.001
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()
        self.steps = 0

    def mix(self, spec: GenerationSpec) -> Mix:
        return spec.mix(self._catalog)

    def prefetch(self, mix: Mix, level: Level) -> bool:
        return self._pool.prefetch(mix, level)

    def generate(
        self,
        spec: GenerationSpec,
        mix: Mix,
        *,
        on_step: OnStep | None = None,
        cancelled: Callable[[], bool] | None = None,
        given_up: Callable[[], bool] | None = None,
    ) -> Generation:
        with self._pool.lease(mix, given_up=given_up) as lease, lease.applied():
            self.entered.set()
            if spec.seed == CRASHES:
                raise RuntimeError("/srv/secret: out of memory")
            for step in range(spec.steps):
                while not self.go_on.wait(0.01):
                    if cancelled is not None and cancelled():
                        break
                if cancelled is not None and cancelled():
                    raise Cancelled("generation", f"cancelled after {step} steps")
                time.sleep(self.step_s)
                self.steps += 1
                if on_step is not None:
                    on_step(step + 1, spec.steps)
            values = b"".join(v.numpy().tobytes() for v in self._base.values().values())
        frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        motion = hashlib.sha256(values).hexdigest()
        video = GeneratedVideo(frames, 8, f"{spec.prompt} {motion}", spec.seed)
        return Generation(video, lease.motions, {"load": 0.1, "denoise": 0.2, "decode": 0.3})


def write(path: Path, video: GeneratedVideo) -> None:
    """Stands for a film: long enough for ranges, and tells what it was made from."""
    text = f"video of {video.prompt}, seed {video.seed}\n"
    write_bytes_atomic(path, (text * 40).encode())


@dataclass(frozen=True)
class ToyServer:
    """The parts of a server, for tests to look into."""

    config: ServerConfig
    services: Services
    jobs: SqliteJobStore
    results: ResultFolder
    deltas: DeltaStore
    pool: MotionPool
    engine: ToyEngine
    replica: Replica


def toy_server(
    folder: Path, config: ServerConfig | None = None, keys: Keys | None = None
) -> ToyServer:
    """A server with the motions ``arms`` (token pll) and ``hat`` (token sks)."""
    config = config or ServerConfig(poll_s=0.01)
    base = ToyBase()
    jobs = SqliteJobStore(folder / "jobs.sqlite", retention_s=config.retention_s)
    results = ResultFolder(folder / "videos")
    deltas = DeltaStore(folder / "motions")
    deltas.publish(toy_delta(1), "arms")
    deltas.publish(toy_delta(2, token="sks", template="a person with <token>"), "hat")
    catalog = MotionCatalog(deltas, FINGERPRINT)
    pool = MotionPool(StoreSource(deltas), base, PoolConfig(device_bytes=2**20, host_bytes=2**20))
    engine = ToyEngine(base, pool, catalog)
    replica = Replica(
        "toy-1",
        engine,
        jobs,
        results,
        write,
        ReplicaConfig(queue=1000, retry_s=0),
        ended=lambda: backend.ended(),
    )
    backend = LocalBackend(
        "toy-1", replica, pool, jobs, results, lambda: None, tick_s=0.1, grace_s=0.1
    )
    parameters = dict(base.denoiser.named_parameters())
    services = Services(
        profile=PROFILE,
        jobs=jobs,
        results=results,
        deltas=deltas,
        catalog=catalog,
        layout=BaseLayout(FINGERPRINT, parameters, text_width=4),
        backend=backend,
        keys=keys,
        sources=AllowedSources.of(config.sources),
    )
    return ToyServer(config, services, jobs, results, deltas, pool, engine, replica)
