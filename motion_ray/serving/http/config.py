"""Settings of the HTTP API, and the rule that a server without keys is for this machine alone."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.errors import ConfigError
from motion_ray.serving.jobs import AdmissionLimits

KIB, GIB = 2**10, 2**30


class ServerConfig(BaseModel):
    """How the API behaves. Ceilings of a single request are in ``ServingLimits``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="address to bind to")
    port: int = Field(default=8000, ge=0, le=65_535, description="0: any free one")
    keys: Path | None = Field(default=None, description="file of API keys; null lets everybody in")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="names that requests may address, beside host and this machine's"
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description="under which a proxy shows this server, e.g. https://studio.example",
    )

    body_bytes: int = Field(default=256 * KIB, ge=1, description="of a request")
    body_s: float = Field(default=30.0, gt=0, description="seconds in which it has to arrive")
    upload_bytes: int = Field(default=4 * GIB, ge=1, description="of an uploaded motion")
    upload_s: float = Field(default=900.0, gt=0, description="seconds in which it has to arrive")
    sources: tuple[str, ...] = Field(
        default=(), description="folders and URIs from which motions may be registered"
    )
    uploads: int = Field(default=2, ge=1, description="uploads at the same time")

    queued: int | None = Field(default=1000, ge=0, description="jobs of all clients that wait")
    active: int | None = Field(default=None, ge=0, description="jobs of a client, wait or run")
    jobs_a_day: int | None = Field(default=None, ge=0, description="of a client")
    seconds_a_day: float | None = Field(default=None, ge=0, description="of a client, run")
    retry_after_s: float = Field(default=5.0, gt=0, description="told to clients without a place")
    retention_s: float = Field(default=86_400.0, gt=0, description="a finished job is kept")

    wait_s: float = Field(default=60.0, ge=0, description="longest Prefer: wait")
    sync_s: float = Field(default=600.0, gt=0, description="longest wait for a video at once")
    delete_s: float = Field(default=10.0, ge=0, description="DELETE waits for running work to stop")
    heartbeat_s: float = Field(default=15.0, gt=0, description="between signs of life of events")
    poll_s: float = Field(default=0.1, gt=0, description="between two looks at a job waited for")
    waiting: int = Field(default=256, ge=1, description="requests that wait or stream at once")
    waiting_each: int = Field(default=64, ge=1, description="of them, those of one key")

    @property
    def admission(self) -> AdmissionLimits:
        """What the job store is to hold clients to that have no limits of their own."""
        return AdmissionLimits(
            queued=self.queued,
            active=self.active,
            jobs_a_day=self.jobs_a_day,
            seconds_a_day=self.seconds_a_day,
            retry_after=self.retry_after_s,
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only.

    A name other than ``localhost`` is not looked up: it may mean something else tomorrow.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_exposure(host: str, keys: Path | None) -> None:
    """To be called by whoever binds a socket, before.

    Args:
        host: address to bind to.
        keys: file of API keys.

    Raises:
        ConfigError: others could reach a server that lets everybody in.
    """
    if keys is None and not is_loopback(host):
        rule = f"{host!r} can be reached by others, and there are no API keys"
        make = "python -m motion_ray.serving.keys create NAME --file keys.json"
        fix = f"bind to 127.0.0.1, or make a key ({make}) and name its file as keys"
        raise ConfigError("host", rule, fix)
