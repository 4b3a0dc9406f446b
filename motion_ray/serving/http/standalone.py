"""Everything that a server in one process stands on: model, motions, jobs, videos."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import EMBEDDED, load_backbone
from motion_ray.data.video import write_video
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.local import LocalBackend, fresh_name
from motion_ray.serving.http.ports import Services
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.profiles import first_spec, profile_for
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.requests import ServingLimits
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.serving.uploads import BaseLayout
from motion_ray.store import DeltaStore
from motion_ray.types import GeneratedVideo

MOST_QUEUED = 100_000  # in the replica, if the store has no limit


class StandaloneConfig(BaseModel):
    """What is served, and where it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(default=EMBEDDED, description="the embedded model, or a folder")
    name: str | None = Field(default=None, description="of the base, as clients write it")
    motions: str = Field(default="demo/run/store", description="store of motions, folder or URI")
    state: Path = Field(default=Path("serving"), description="folder for jobs and videos")
    device: str | None = Field(default=None, description="null: a GPU if there is one")
    limits: ServingLimits = Field(default=ServingLimits(), description="of requests")
    pool: PoolConfig = Field(default=PoolConfig(), description="memory for motions")


def open_services(config: ServerConfig, alone: StandaloneConfig) -> Services:
    """Load the model and open what a server stands on.

    Args:
        config: of the API.
        alone: what to serve.

    Raises:
        BaseModelError: the base model cannot be loaded.
        StoreError: the store of motions cannot be opened.
        JobStoreError: the job store cannot be used.
        KeysError: the keys cannot be read.
        ConfigError: a source that cannot be one.
    """
    keys = None if config.keys is None else ApiKeys.load(config.keys)
    sources = AllowedSources.of(config.sources)
    jobs = SqliteJobStore(alone.state / "jobs.sqlite", retention_s=config.retention_s)
    results = ResultFolder(alone.state / "videos")
    deltas = DeltaStore(alone.motions)
    backbone = load_backbone(alone.base, alone.device)
    profile = profile_for(alone.base, backbone, alone.limits, alone.name)
    catalog = MotionCatalog(deltas, backbone.fingerprint)
    pool = MotionPool(StoreSource(deltas), backbone, alone.pool)
    engine = MotionEngine(backbone, pool, catalog)
    name = fresh_name()
    queue = MOST_QUEUED if config.queued is None else config.queued
    replica = Replica(name, engine, jobs, results, _write, ReplicaConfig(queue=queue))

    def warm_up() -> None:
        engine.generate(first_spec(profile), Mix())

    return Services(
        profile=profile,
        jobs=jobs,
        results=results,
        deltas=deltas,
        catalog=catalog,
        layout=BaseLayout.of(backbone),
        backend=LocalBackend(name, replica, pool, jobs, results, warm_up),
        keys=keys,
        sources=sources,
    )


def _write(path: Path, video: GeneratedVideo) -> None:
    write_video(path, video.frames, video.fps)
