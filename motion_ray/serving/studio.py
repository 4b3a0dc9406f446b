"""One replica with all that belongs to it: model, pool, worker, and the line to the router."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.data.video import write_video
from motion_ray.errors import RunFolderError
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.profiles import first_spec
from motion_ray.serving.replica import Replica, ReplicaConfig, Watch
from motion_ray.serving.requests import ServingProfile
from motion_ray.serving.site import Site, SiteConfig, open_site
from motion_ray.serving.sources import DeltaSource, DiskCache, StoreSource
from motion_ray.serving.station import Station
from motion_ray.types import GeneratedVideo

log = logging.getLogger(__name__)

MOST_CACHES = 1000  # folders for disk tiers


class LocalStudio(BaseModel):
    """How the one replica of a server in one process is equipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: PoolConfig = Field(default=PoolConfig(), description="memory for motions")
    disk_bytes: int = Field(
        default=32 * 2**30, ge=0, description="of copies, if the store of motions is distant"
    )
    disk: Path | None = Field(
        default=None,
        description="folder for them, on a local disk; null: in state, or on several machines in"
        " the user's cache",
    )


class StudioConfig(LocalStudio):
    """How a replica is equipped."""

    device: Literal["cpu", "gpu"] = Field(default="cpu", description="where the model runs")
    threads: int = Field(default=2, ge=1, description="of torch, on a CPU")
    precision: str = Field(default="auto", description="auto, fp32 or bf16")
    scheduler: Literal["ddim", "dpmsolver++"] = "ddim"
    replica: ReplicaConfig = ReplicaConfig()


@dataclass(frozen=True)
class Equipment:
    """What makes videos, over one base model.

    Attributes:
        replica: takes jobs.
        pool: motions.
        engine: generates.
        profile: the model that is served.
    """

    replica: Replica
    pool: MotionPool
    engine: MotionEngine
    profile: ServingProfile

    def warm_up(self) -> float:
        """Make a short video for nobody, before the first one for somebody; the seconds taken."""
        started = time.perf_counter()
        self.engine.generate(first_spec(self.profile), Mix())
        seconds = time.perf_counter() - started
        log.info("warm after %.1f seconds", seconds)
        return seconds


def equip(
    name: str,
    site: Site,
    backbone: UNet3DBackbone,
    config: StudioConfig,
    *,
    ended: Callable[[], None] | None = None,
    watch: Watch | None = None,
) -> Equipment:
    """Put a replica over a loaded base model.

    Args:
        name: unique among replicas and restarts.
        site: what it shares with others.
        backbone: the base model.
        config: equipment.
        ended: see :class:`motion_ray.serving.replica.Replica`.
        watch: the same.

    Raises:
        RunFolderError: there is no folder for copies of motions.
    """
    pool = MotionPool(_source(site, config), backbone, config.pool)
    engine = MotionEngine(
        backbone, pool, site.catalog, scheduler=config.scheduler, precision=config.precision
    )
    replica = Replica(
        name,
        engine,
        site.jobs,
        site.results,
        write_file,
        config.replica,
        ended=ended,
        watch=watch,
    )
    return Equipment(replica, pool, engine, site.profile)


class Studio:
    """See the top of this file; made by :meth:`open`.

    Attributes:
        station: follows the router's orders and reports.
        pool: its motions.
    """

    def __init__(self, name: str, equipment: Equipment, queue: int) -> None:
        self.station = Station(name, equipment.replica, equipment.pool, queue)
        self.pool = equipment.pool
        self._equipment = equipment

    @classmethod
    def open(
        cls,
        name: str,
        site: SiteConfig,
        retention_s: float,
        config: StudioConfig,
        *,
        ended: Callable[[], None] | None = None,
        watch: Watch | None = None,
    ) -> Self:
        """Load the model and start the replica.

        Args:
            name: unique among replicas and restarts.
            site: what it shares with the router.
            retention_s: seconds for which a finished job is kept.
            config: equipment.
            ended: see :class:`motion_ray.serving.replica.Replica`.
            watch: the same.

        Raises:
            BaseModelError: the base model cannot be loaded.
            StoreError: the store of motions cannot be opened.
            JobStoreError: nor the one of jobs.
        """
        if config.device == "cpu":
            torch.set_num_threads(config.threads)
        device = "cuda" if config.device == "gpu" else "cpu"
        backbone = load_backbone(site.base, device, config.precision)
        opened = open_site(site, retention_s, backbone)
        equipment = equip(name, opened, backbone, config, ended=ended, watch=watch)
        return cls(name, equipment, config.replica.queue)

    def warm_up(self) -> float:
        """See :meth:`Equipment.warm_up`."""
        return self._equipment.warm_up()

    def close(self, seconds: float) -> None:
        """Start nothing more; what runs may go on for so long, then it is given back."""
        self.station.close()
        self._equipment.replica.close(seconds)
        self.pool.close()


def write_file(path: Path, video: GeneratedVideo) -> None:
    """Write a video as mp4."""
    write_video(path, video.frames, video.fps)


def _source(site: Site, config: LocalStudio) -> DeltaSource:
    """The store itself if it is on a disk of this machine, else copies of it on one."""
    source = StoreSource(site.deltas)
    if "://" not in site.deltas.uri or not config.disk_bytes:
        return source
    folder = config.disk or (_cache() if site.several else site.state) / "motions"
    for number in range(MOST_CACHES):
        try:
            return DiskCache(source, folder / f"{number}", config.disk_bytes)
        except RunFolderError:  # another replica of this machine has it
            log.debug("disk tier %d is taken", number)
    raise RunFolderError(folder, f"all {MOST_CACHES} folders are in use")


def _cache() -> Path:
    """The user's, as desktops and tools have it (XDG base directories)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "motion_ray"
