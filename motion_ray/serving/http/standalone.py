"""Everything that a server in one process stands on: model, motions, jobs, videos."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import EMBEDDED, load_backbone
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.local import LocalBackend, fresh_name
from motion_ray.serving.http.ports import Services
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.profiles import first_spec
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.requests import ServingLimits
from motion_ray.serving.site import SiteConfig, open_site
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.studio import write_file
from motion_ray.serving.uploads import BaseLayout

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
    backbone = load_backbone(alone.base, alone.device)
    where = SiteConfig(
        base=alone.base,
        base_name=alone.name,
        store=alone.motions,
        state=alone.state,
        limits=alone.limits,
    )
    site = open_site(where, config.retention_s, backbone)
    pool = MotionPool(StoreSource(site.deltas), backbone, alone.pool)
    engine = MotionEngine(backbone, pool, site.catalog)
    name = fresh_name()
    queue = MOST_QUEUED if config.queued is None else config.queued
    replica = Replica(name, engine, site.jobs, site.results, write_file, ReplicaConfig(queue=queue))

    def warm_up() -> None:
        engine.generate(first_spec(site.profile), Mix())

    return Services(
        profile=site.profile,
        jobs=site.jobs,
        results=site.results,
        deltas=site.deltas,
        catalog=site.catalog,
        layout=BaseLayout.of(backbone),
        backend=LocalBackend(name, replica, pool, site.jobs, site.results, warm_up),
        keys=keys,
        sources=sources,
    )
