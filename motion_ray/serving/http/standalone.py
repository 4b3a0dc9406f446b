"""Everything that a server in one process stands on: model, motions, jobs, videos."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.local import MOST_QUEUED, LocalBackend, fresh_name
from motion_ray.serving.http.ports import Services
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.profiles import first_spec
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.replica import Replica, ReplicaConfig
from motion_ray.serving.site import SiteConfig, open_site
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.studio import write_file
from motion_ray.serving.uploads import BaseLayout


class LocalSite(SiteConfig):
    """As of a deployment; jobs and videos lie in a folder of their own."""

    state: Path = Field(default=Path("serving"), description="folder for jobs and videos")


class LocalStudio(BaseModel):
    """How the one replica is equipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: PoolConfig = Field(default=PoolConfig(), description="memory for motions")


class StandaloneConfig(BaseModel):
    """Everything about a server in one process.

    A YAML file holds the same. A deployment on Ray Serve takes that file too; what else a
    deployment's file may hold has no use here, and is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: LocalSite = LocalSite()
    studio: LocalStudio = LocalStudio()
    server: ServerConfig = ServerConfig()


def open_services(settings: StandaloneConfig, device: str | None = None) -> Services:
    """Load the model and open what a server stands on.

    Args:
        settings: what to serve, and how.
        device: of the model; null: a GPU if there is one.

    Raises:
        BaseModelError: the base model cannot be loaded.
        StoreError: the store of motions cannot be opened.
        JobStoreError: the job store cannot be used.
        KeysError: the keys cannot be read.
        ConfigError: a source that cannot be one.
    """
    config = settings.server
    keys = None if config.keys is None else ApiKeys.load(config.keys)
    sources = AllowedSources.of(config.sources)
    backbone = load_backbone(settings.site.base, device)
    site = open_site(settings.site, config.retention_s, backbone)
    pool = MotionPool(StoreSource(site.deltas), backbone, settings.studio.pool)
    engine = MotionEngine(backbone, pool, site.catalog)
    name = fresh_name()
    queue = MOST_QUEUED if config.queued is None else max(1, config.queued)  # 0 admits nobody
    replica = Replica(
        name,
        engine,
        site.jobs,
        site.results,
        write_file,
        ReplicaConfig(queue=queue),
        ended=lambda: backend.ended(),
    )

    def warm_up() -> None:
        engine.generate(first_spec(site.profile), Mix())

    backend = LocalBackend(name, replica, pool, site.jobs, site.results, warm_up)
    return Services(
        profile=site.profile,
        jobs=site.jobs,
        results=site.results,
        deltas=site.deltas,
        catalog=site.catalog,
        layout=BaseLayout.of(backbone),
        backend=backend,
        keys=keys,
        sources=sources,
    )
