"""Everything that a server in one process stands on: model, motions, jobs, videos."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.local import MOST_QUEUED, LocalBackend, fresh_name
from motion_ray.serving.http.ports import Services
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.replica import ReplicaConfig
from motion_ray.serving.site import SiteConfig, open_site
from motion_ray.serving.studio import LocalStudio, StudioConfig, equip
from motion_ray.serving.uploads import BaseLayout


class LocalSite(SiteConfig):
    """As of a deployment; jobs and videos lie in a folder of their own."""

    state: Path = Field(default=Path("serving"), description="folder for jobs and videos")


class StandaloneConfig(BaseModel):
    """Everything about a server in one process.

    A YAML file holds the same. A deployment on Ray Serve takes that file too; what else a
    deployment's file may hold has no use here, and is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
    name = fresh_name()
    queue = MOST_QUEUED if config.queued is None else max(1, config.queued)  # 0 admits nobody
    studio = StudioConfig(**dict(settings.studio), replica=ReplicaConfig(queue=queue))
    made = equip(name, site, backbone, studio, ended=lambda: backend.ended())
    backend = LocalBackend(name, made.replica, made.pool, site.jobs, site.results, made.warm_up)
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
