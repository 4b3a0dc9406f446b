"""What the router and the replicas of one server share: its base model, motions, jobs and videos.

A store of motions, and a folder with the job store and the videos; each process opens them for
itself. On one machine the folder is all there is. On several it has to be on storage that all of
them see, and the jobs are in a database.
"""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from motion_ray.backbones.unet3d import EMBEDDED, UNet3DBackbone
from motion_ray.errors import JobStoreError, StoreError
from motion_ray.files import create_bytes_exclusive
from motion_ray.manifest import reading
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.postgres_address import check_schema, check_url
from motion_ray.serving.postgres_jobs import PostgresJobStore
from motion_ray.serving.profiles import profile_for
from motion_ray.serving.requests import ServingLimits, ServingProfile
from motion_ray.serving.results import ResultFolder
from motion_ray.serving.sql_jobs import SqlJobStore
from motion_ray.serving.sqlite_jobs import SqliteJobStore
from motion_ray.store import DeltaStore

log = logging.getLogger(__name__)


class SiteConfig(BaseModel):
    """Where everything is."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base: str = Field(default=EMBEDDED, description="'puppet', or a diffusers folder")
    base_name: str | None = Field(
        default=None, description="as clients write it; null: the last part of the folder's name"
    )
    store: str = Field(default="demo/run/store", description="of motions: a folder or an URI")
    state: Path = Field(
        default=Path("serve-state"),
        description="folder of jobs and videos: on a local disk, unless jobs names a database",
    )
    jobs: str | None = Field(
        default=None,
        repr=False,
        description="of several machines: a PostgreSQL database, without a password; null: a file"
        " in state",
    )
    jobs_schema: str = Field(default="motion_ray", description="in that database, of this server")
    limits: ServingLimits = ServingLimits()

    @field_validator("jobs")
    @classmethod
    def _address(cls, jobs: str | None) -> str | None:
        return None if jobs is None else check_url(jobs)

    @field_validator("jobs_schema")
    @classmethod
    def _name(cls, schema: str) -> str:
        return check_schema(schema)


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
        several: it is of several machines.
    """

    profile: ServingProfile
    jobs: SqlJobStore
    results: ResultFolder
    deltas: DeltaStore
    catalog: MotionCatalog
    state: Path
    several: bool


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
    _tell_of(deltas)
    # A job does not say for which base it is: all that lie in a folder are for the same one.
    if _first(config.state / "base.txt", backbone.fingerprint) != backbone.fingerprint:
        rule = "its jobs and videos are of another base model"
        raise JobStoreError(config.state, rule, "name another folder as state")
    return Site(
        profile=profile_for(config.base, backbone, config.limits, config.base_name),
        jobs=_open_jobs(config, retention_s),
        results=ResultFolder(config.state / "videos"),
        deltas=deltas,
        catalog=MotionCatalog(deltas, backbone.fingerprint),
        state=config.state,
        several=config.jobs is not None,
    )


def _tell_of(deltas: DeltaStore) -> None:
    """Say that there are no motions: whoever mistyped the place would look for them for long."""
    try:
        if not deltas.names():
            log.warning("%s: holds no motions yet", deltas.uri)
    except StoreError as fault:  # it may be reached later
        log.warning("the store of motions cannot be read now: %s", fault)


def _open_jobs(config: SiteConfig, retention_s: float) -> SqlJobStore:
    """The store that has the jobs of a folder's videos.

    Any other one would have them removed as left over, so the folder remembers which it was.
    """
    mine = "a file" if config.jobs is None else f"a database, schema {config.jobs_schema}"
    note, file = config.state / "jobs.txt", config.state / "jobs.sqlite"
    there = _names(config.state)
    known = note.name in there
    if known or file.name in there:  # there is a file and no note of a version that made none
        _agree(config.state, _read(note) if known else "a file", mine)
    if config.jobs is None:
        store: SqlJobStore = SqliteJobStore(file, retention_s=retention_s)
    else:
        owner = _first(config.state / "id.txt", secrets.token_hex(16))
        store = PostgresJobStore(
            config.jobs, config.jobs_schema, owner, make=not known, retention_s=retention_s
        )
    try:
        # Now that it is there, and not before: where one is known, none is made.
        _agree(config.state, _first(note, mine), mine)
    except BaseException:
        store.close()
        raise
    return store


def _agree(state: Path, found: str, mine: str) -> None:
    if found != mine:
        rule = f"jobs of its videos are in {found}, and not in {mine}"
        raise JobStoreError(state, rule, "set jobs as before, or name another folder")


def _names(folder: Path) -> set[str]:
    """What is in a folder: a network filesystem may remember for a while that one file was not
    there.
    """
    with reading(folder, JobStoreError):
        return set(os.listdir(folder))


def _first(path: Path, text: str) -> str:
    """What the first who came wrote into a file; that is us if there is none."""
    create_bytes_exclusive(path, text.encode(), JobStoreError)
    return _read(path)


def _read(path: Path) -> str:
    with reading(path, JobStoreError):
        return path.read_text(encoding="utf-8").strip()
