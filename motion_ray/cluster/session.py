"""A connection to Ray: a private cluster on this machine, or one that is already running.

A private cluster lives as long as the ``with`` block. It has no dashboard, and only holders of its
token can talk to it: Ray executes whatever reaches its ports.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from motion_ray.errors import ConfigError

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 200 * 2**20  # nothing but events and small results passes through it
LAST_CLUSTER = "ray_current_cluster"  # where Ray notes its address
CONNECT_SECONDS = 10.0
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class ClusterSession:
    """A live connection.

    Attributes:
        local: started by us, and gone when we leave.
        address: of the head, ``host:port``; other processes with the token can join by it.
    """

    local: bool
    address: str


@contextmanager
def open_cluster(address: str | None, cpus: int | None = None) -> Iterator[ClusterSession]:
    """Connect to Ray, and disconnect or stop it at the end.

    Args:
        address: ``host:port`` or ``auto`` for a running cluster; null or ``local`` starts a private
            one.
        cpus: cores of a private cluster; null: all of this machine.

    Raises:
        ConfigError: the address has the wrong form, or nothing answers there.
    """
    # Usage reports leave the machine; Ray decides on this while it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None or address == "local":
        with _private_cluster(cpus) as session:
            yield session
    else:
        with _existing_cluster(address) as session:
            yield session


@contextmanager
def _private_cluster(cpus: int | None) -> Iterator[ClusterSession]:
    _require_token()
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,  # what matters comes through the relay
            logging_level=logging.WARNING,
            object_store_memory=OBJECT_STORE_BYTES,
        )
        yield ClusterSession(True, ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def _require_token() -> None:
    """Turn token authentication on for clusters that this process starts.

    Ray keeps the first token it reads until the process ends, so the file stays until then as well,
    and later clusters of the process use the same one.
    """
    if not any(os.environ.get(name) for name in TOKEN_VARIABLES):
        # Left to itself, Ray writes one that every user of the machine can read.
        private = Path(tempfile.mkdtemp(prefix="motion_ray-"))
        atexit.register(shutil.rmtree, private)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(write_token(private / "token"))
    if "ray" not in sys.modules:
        # Ray reads the mode while it is imported. Once it is, ray.init turns tokens on by itself
        # where the mode is unset, and one set by us would be noticed by its servers only.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def write_token(path: Path) -> Path:
    """Write a fresh random token that only this user can read (mode 0600).

    Raises:
        FileExistsError: there is one already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


@contextmanager
def _existing_cluster(address: str) -> Iterator[ClusterSession]:
    if "://" in address:
        raise ConfigError(
            f"cluster address {address}",
            "a driver joins a cluster by host:port or auto",
            "to send a job to a dashboard address use: ray job submit --address "
            f"{address} --working-dir . -- python -m jobs.customize ...",
        )
    if address == "auto":
        forget_dead_cluster(ray_folder())
    else:
        _require_listener(address)
    import ray
    from ray.exceptions import AuthenticationError

    try:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, AuthenticationError) as error:
            raise _unreachable(address, "no Ray cluster lets us in there") from error
        yield ClusterSession(False, ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Fail fast where nothing listens: Ray itself would try for more than ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(
            f"cluster address {address}", "is not host:port", "for example 10.0.0.5:6379, or auto"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return
    except OSError as error:
        raise _unreachable(address, f"nothing answers there ({error})") from error


def ray_folder() -> Path:
    """Where Ray keeps what is temporary, unless it is told otherwise."""
    return Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"


def forget_dead_cluster(folder: Path) -> None:
    """Remove Ray's note of the last cluster of this machine if nothing answers there any more.

    A head that was killed leaves the note, and whoever then looks for a cluster waits for that one
    for minutes. ``ray stop`` removes it too.

    Args:
        folder: Ray's temporary folder.
    """
    note = folder / LAST_CLUSTER
    try:
        host, _, port = note.read_text().strip().rpartition(":")
    except FileNotFoundError:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        logger.warning("forgetting the cluster at %s:%s: nothing answers (%s)", host, port, error)
        note.unlink(missing_ok=True)


def _unreachable(address: str, rule: str) -> ConfigError:
    return ConfigError(
        f"cluster address {address}",
        rule,
        "check that it runs (ray status), and that RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH are "
        "those it was started with",
    )
