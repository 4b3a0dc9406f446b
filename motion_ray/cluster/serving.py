"""Serving on Ray: the settings of a deployment, and where its parts run."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal, Self

import click
import ray
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from ray.serve.context import _get_global_client

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.backbones.unet3d import EMBEDDED
from motion_ray.cluster.paths import lasting_path
from motion_ray.cluster.resources import (
    CPU_THREADS,
    Nodes,
    WorkerResources,
    choose_resources,
    count_workers,
)
from motion_ray.cluster.session import LAST_CLUSTER, ray_folder
from motion_ray.config_errors import setting_error
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.settings_file import read_settings, set_setting
from motion_ray.serving.site import SiteConfig
from motion_ray.serving.studio import StudioConfig

log = logging.getLogger(__name__)

#: What Ray calls the machine with the head of the cluster. Without a database router and replicas
#: share files on a local disk, so all of them run on one machine.
HEAD = "node:__internal_head__"
SLIVER = 0.001  # of a resource that is asked for to be somewhere, not to use it up
CLOSE_S = 20.0  # that a running job may go on when its replica has to leave
STOP_S = 40.0  # for it to stop after that, and for everything else
DEFAULT_HOST = "127.0.0.1"  # Serve's
GIB = 2**30


class ServingSettings(BaseModel):
    """Everything about a deployment; a YAML file holds the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    site: SiteConfig = SiteConfig()
    studio: StudioConfig = StudioConfig()
    server: ServerConfig = ServerConfig()
    replicas: int = Field(default=1, ge=1, description="generators; the fewest, if they scale")
    most_replicas: int | None = Field(
        default=None, ge=1, description="generators at most; null: as many as replicas, always"
    )
    jobs_per_replica: float = Field(
        default=4.0, gt=0, description="jobs that wait or run, for each generator to be had"
    )
    machine: str | None = Field(
        default=None,
        description="Ray resource of the machines for router and generators; null: the machine with"
        " the head, or with site.jobs all",
    )

    @model_validator(mode="after")
    def _range(self) -> ServingSettings:
        if self.most_replicas is not None and self.most_replicas < self.replicas:
            raise ValueError("most_replicas is at least replicas, e.g. replicas=1 most_replicas=4")
        return self

    @property
    def place(self) -> dict[str, float]:
        """Resources that say where router and generators may be."""
        somewhere = self.machine or (HEAD if self.site.jobs is None else None)
        return {} if somewhere is None else {somewhere: SLIVER}


GOOD_ARGUMENTS = {
    "config": "serving.yaml",
    "root": "/srv/motion_ray",
    "base": "puppet",
    "store": "demo/run/store",
    "state": "serve-state",
    "keys": "keys.json",
    "replicas": 2,
    "most_replicas": 4,
    "device": "gpu",
    "threads": 2,
    "device_gib": 1.5,
    "host_gib": 4.0,
}


class ServeArguments(BaseModel):
    """What ``serve run deployments.app:build a=b ...`` takes. All of it may be left out."""

    # Serve shows what is wrong with them on its dashboard.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    config: Path | None = Field(default=None, description="YAML file with more settings")
    root: Path | None = Field(
        default=None, description="what relative paths are relative to; null: the current folder"
    )
    base: str | None = Field(default=None, description="'puppet', or a diffusers folder")
    store: str | None = Field(default=None, description="of motions: a folder or an URI")
    state: Path | None = Field(default=None, description="folder of jobs and videos")
    jobs: str | None = Field(
        default=None,
        repr=False,
        description="of several machines: a PostgreSQL database, without a password",
    )
    keys: Path | None = Field(default=None, description="file of API keys")
    replicas: int | None = Field(default=None, description="generators")
    most_replicas: int | None = Field(default=None, description="generators under load")
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="of each generator")
    threads: int | None = Field(default=None, description="CPU cores of each generator")
    device_gib: float | None = Field(default=None, description="for motions ready for exchange")
    host_gib: float | None = Field(default=None, description="for motions in host memory")

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Serve validates them itself, and shows what is raised.

        Raises:
            ConfigError: one is wrong.
        """
        try:
            return handler(values)
        except ValidationError as fault:
            raise setting_error(fault, cls, values, GOOD_ARGUMENTS) from None


def settings_from(arguments: ServeArguments, nodes: Nodes, here: Path) -> ServingSettings:
    """The settings of a deployment; all paths in them are absolute.

    Args:
        arguments: from the command line or from ``args`` in ``serve.yaml``.
        nodes: what ``ray.nodes()`` returns.
        here: the current folder.

    Raises:
        ConfigError: a setting is wrong, or the cluster cannot run a generator.
    """
    root = here if arguments.root is None else here / arguments.root.expanduser()
    values = read_settings(None if arguments.config is None else root / arguments.config)
    for path, value in (
        ("site.base", arguments.base),
        ("site.store", arguments.store),
        ("site.state", arguments.state),
        ("site.jobs", arguments.jobs),
        ("server.keys", arguments.keys),
        ("replicas", arguments.replicas),
        ("most_replicas", arguments.most_replicas),
        ("studio.pool.device_bytes", _bytes(arguments.device_gib)),
        ("studio.pool.host_bytes", _bytes(arguments.host_gib)),
    ):
        if value is not None:
            set_setting(values, path, value)
    try:
        settings = ServingSettings.model_validate(values)
    except ValidationError as fault:
        good = ServingSettings().model_dump(mode="json")
        raise setting_error(fault, ServingSettings, values, good) from None
    return _absolute(_equipped(settings, arguments, nodes), root)


def _equipped(
    settings: ServingSettings, arguments: ServeArguments, nodes: Nodes
) -> ServingSettings:
    """With the device and the cores that each generator gets on the machines they may be on."""
    there = _allowed(settings, nodes)
    found = choose_resources(there, arguments.device, arguments.threads)
    if found.device == "cpu" and arguments.threads is None:
        # For as many as there may be: more cores for each would keep others from coming.
        share = _share(there, settings.most_replicas or settings.replicas)
        found = choose_resources(there, "cpu", share)
    studio = settings.studio.model_copy(update={"device": found.device, "threads": found.threads})
    return settings.model_copy(update={"studio": studio})


def _share(nodes: Nodes, replicas: int) -> int:
    """Cores for each of so many generators, each of which is on one machine."""
    for cores in range(CPU_THREADS, 1, -1):
        if count_workers(nodes, WorkerResources("cpu", cores)) >= replicas:
            return cores
    return 1


def generator_options(settings: ServingSettings) -> dict[str, Any]:
    """Resources of each generator, as Ray wants them."""
    studio = settings.studio
    options: dict[str, Any] = {"num_cpus": studio.threads, "resources": settings.place}
    return options | ({"num_gpus": 1} if studio.device == "gpu" else {})


def router_options(settings: ServingSettings) -> dict[str, Any]:
    """The same of the router, which is there even when generators have taken all cores."""
    return {"num_cpus": 0, "resources": settings.place}


def check_here(settings: ServingSettings, nodes: Nodes) -> None:
    """Look at what a server needs before it is deployed, as far as that can be seen from here.

    Args:
        settings: of the deployment.
        nodes: what :func:`known_nodes` returns.

    Raises:
        KeysError: the file of keys cannot be read.
        BaseModelError: the base model cannot be loaded.
    """
    alone = not (ray.is_initialized() or _joins_a_cluster())
    if alone:  # files of a cluster may lie where only its machines see them
        sketch_backbone(settings.site.base)
        if settings.server.keys is not None:
            ApiKeys.load(settings.server.keys)
    if alone or ray.is_initialized():
        asked = WorkerResources(settings.studio.device, settings.studio.threads)
        room = count_workers(_allowed(settings, nodes), asked)
        if room < settings.replicas:
            log.warning(
                "there is room for %d of %d generators with %s each: the others wait for machines",
                room,
                settings.replicas,
                asked,
            )


def _joins_a_cluster() -> bool:
    """Whether ``serve run``, which builds an application before that, will find a cluster."""
    command = click.get_current_context(silent=True)
    named = None if command is None else command.params.get("address")
    there = (ray_folder() / LAST_CLUSTER).exists()
    return bool(named or os.environ.get("RAY_ADDRESS") or there)


def _allowed(settings: ServingSettings, nodes: Nodes) -> list[Any]:
    """Machines on which generators may be."""
    return [node for node in nodes if settings.place.keys() <= node.get("Resources", {}).keys()]


def bound_host() -> str:
    """The address that Ray Serve listens on, or will listen on if nobody asks for another one.

    Ray has no public way to ask that from inside, so this is the only place that asks otherwise.
    """
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        return "0.0.0.0"  # whatever is configured
    client = None
    if ray.is_initialized():
        client = _get_global_client(raise_if_no_controller_running=False)
    return DEFAULT_HOST if client is None else client.http_config.host or DEFAULT_HOST


def known_nodes() -> Nodes:
    """Machines of the cluster; before a cluster is there, which ``serve run`` starts, this one."""
    if ray.is_initialized():
        return ray.nodes()
    resources = {
        "CPU": len(os.sched_getaffinity(0)),
        "GPU": torch.cuda.device_count(),
        HEAD: 1.0,
    }
    return [{"Alive": True, "Resources": resources}]


def _bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * GIB)


def _absolute(settings: ServingSettings, root: Path) -> ServingSettings:
    """Workers run in another folder than whoever starts them."""
    site, server = settings.site, settings.server
    base = site.base if site.base == EMBEDDED else str(lasting_path(site.base, "base", root))
    store = site.store if "://" in site.store else str(lasting_path(site.store, "store", root))
    state = lasting_path(str(site.state), "state", root)
    keys = None if server.keys is None else lasting_path(str(server.keys), "keys", root)
    disk = settings.studio.disk
    disk = None if disk is None else lasting_path(str(disk), "studio.disk", root)
    return settings.model_copy(
        update={
            "studio": settings.studio.model_copy(update={"disk": disk}),
            "site": site.model_copy(update={"base": base, "store": store, "state": state}),
            "server": server.model_copy(update={"keys": keys}),
        }
    )
