"""What the router and the replicas of one server share: its base model, motions, jobs and videos.

Everything lies in files of one machine: a store of motions, and a folder with the job store and the
videos. Each process opens it for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone
from motion_ray.errors import JobStoreError
from motion_ray.files import create_bytes_exclusive
from motion_ray.manifest import reading
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.profiles import profile_for
from motion_ray.serving.requests import ServingLimits, ServingProfile
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.store import DeltaStore


class SiteConfig(BaseModel):
    """Where everything is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(default=EMBEDDED, description="'puppet', or a diffusers folder")
    base_name: str | None = Field(
        default=None, description="as clients write it; null: the last part of the folder's name"
    )
    store: str = Field(default="demo/run/store", description="of motions: a folder or an URI")
    state: Path = Field(
        default=Path("serve-state"), description="folder of jobs and videos, on a local disk"
    )
    limits: ServingLimits = ServingLimits()


@dataclass(frozen=True)
class Site:
    """See the top of this file.

    Attributes:
        profile: the model that is served, its defaults and limits.
        jobs: accepted jobs.
        results: their videos.
        deltas: published motions.
        catalog: those that go with the base.
        state: folder for what else has to survive.
    """

    profile: ServingProfile
    jobs: SqliteJobStore
    results: ResultFolder
    deltas: DeltaStore
    catalog: MotionCatalog
    state: Path


def open_site(config: SiteConfig, retention_s: float, backbone: UNet3DBackbone) -> Site:
    """Open everything; folders that are not there are made.

    Args:
        config: where.
        retention_s: seconds for which a finished job is kept.
        backbone: the base model, loaded or as a sketch.

    Raises:
        StoreError: the store of motions cannot be opened.
        JobStoreError: nor the one of jobs; or it belongs to another base model.
    """
    deltas = DeltaStore(config.store)
    _check_base(config.state / "base.txt", backbone.fingerprint)
    return Site(
        profile=profile_for(config.base, backbone, config.limits, config.base_name),
        jobs=SqliteJobStore(config.state / "jobs.sqlite", retention_s=retention_s),
        results=ResultFolder(config.state / "videos"),
        deltas=deltas,
        catalog=MotionCatalog(deltas, backbone.fingerprint),
        state=config.state,
    )


def _check_base(path: Path, fingerprint: str) -> None:
    """A job does not say for which base it is: all that lie in a folder are for the same one."""
    create_bytes_exclusive(path, fingerprint.encode(), JobStoreError)  # of the first who comes
    with reading(path, JobStoreError):
        found = path.read_text(encoding="utf-8").strip()
    if found != fingerprint:
        rule = "its jobs and videos are of another base model"
        raise JobStoreError(path.parent, rule, "name another folder as state")
