"""The file of API keys: who may use a server, as hashes, with scopes and limits.

A key is 256 random bits, so its sha256 is all that has to be kept: nobody can find the key by
trying, and slow hashes such as scrypt, which make guesses of *human* passwords dear, would only
make every request dear (and would be a way to keep the server busy). The file cannot be used to
log in, but whoever writes to it can let anybody in; it is written with mode 0600 and refused if
others may write to it.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motion_ray.errors import KeysError
from motion_ray.files import write_bytes_atomic
from motion_ray.locks import one_at_a_time
from motion_ray.manifest import canonical_json
from motion_ray.serving.jobs import AdmissionLimits

FORMAT = "motion_ray.keys/1"
LARGEST = 4 * 2**20  # bytes; some ten thousand keys
MODE = 0o600
#: The owner, and reading by the group: how containers are given a file that another user owns.
FORBIDDEN_MODE = 0o037
PREFIX = "mr_"  # lets scanners for leaked secrets find one
_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
KEY_NAME = r"[a-z0-9][a-z0-9-]{0,62}"


class Scope(enum.StrEnum):
    """What a key is for. Neither includes the other."""

    GENERATE = "generate"
    ADMIN = "admin"


class KeyLimits(BaseModel):
    """Limits of one key; null: the server's own for every key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    active: int | None = Field(default=None, ge=0, description="jobs that wait or run")
    jobs_a_day: int | None = Field(default=None, ge=0, description="accepted on a day (UTC)")
    seconds_a_day: float | None = Field(default=None, ge=0, description="run on a day (UTC)")

    def within(self, server: AdmissionLimits) -> AdmissionLimits:
        """What the job store is to hold this key's jobs to.

        Args:
            server: limits of all, and of keys that have none of their own.
        """
        own: dict[str, Any] = self.model_dump(exclude_none=True)
        return replace(server, **own)


@dataclass(frozen=True)
class ApiKey:
    """A key that was recognized.

    Attributes:
        name: whose jobs these are; never given out twice in one file.
        scopes: what it may do.
        limits: of its own.
    """

    name: str
    scopes: frozenset[Scope]
    limits: KeyLimits = field(default_factory=KeyLimits)

    def allows(self, scope: Scope) -> bool:
        """Whether it may do this."""
        return scope in self.scopes


class StoredKey(BaseModel):
    """An entry of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=rf"^{KEY_NAME}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    limits: KeyLimits = KeyLimits()
    created_at: int = Field(description="unix seconds")
    revoked_at: int | None = Field(default=None, description="unix seconds")

    @property
    def key(self) -> ApiKey:
        """Without what only the file needs."""
        return ApiKey(self.name, frozenset(self.scopes), self.limits)


class KeyFile(BaseModel):
    """Everything in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["motion_ray.keys/1"] = FORMAT
    keys: tuple[StoredKey, ...] = ()


@dataclass(frozen=True)
class Stamp:
    """Tells whether a file, or who may write to it, changed since it was read."""

    device: int
    inode: int
    size: int
    changed_ns: int


def stamp_of(path: Path) -> Stamp:
    """The present stamp of a file.

    Raises:
        KeysError: there is no such file, or it cannot be looked at.
    """
    with _reading(path):
        return _stamp(os.stat(path))


def read_keys(path: Path) -> tuple[KeyFile, Stamp]:
    """The file, written by :func:`create_key` or by hand, as JSON or YAML.

    Raises:
        KeysError: it cannot be read, others may write to it, or it is no such file.
    """
    with _reading(path), open(path, "rb") as stream:
        # Of the open file, so that what is checked is what is read.
        status = os.fstat(stream.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if mode & FORBIDDEN_MODE:
            rule = f"has mode {mode:04o}: others could add keys, or see who has one"
            raise KeysError(f"{path}", rule, f"chmod 600 {path}")
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise KeysError(f"{path}", f"has more than {LARGEST} bytes", "remove revoked keys")
    return _parse(path, data), _stamp(status)


def create_key(
    path: Path, name: str, scopes: frozenset[Scope], limits: KeyLimits, now: float | None = None
) -> str:
    """Make a key and add it to the file, which is made if there is none.

    Args:
        path: the file.
        name: of the key; one that was revoked keeps its name, so that nobody inherits its jobs.
        scopes: at least one.
        limits: of its own.
        now: unix seconds.

    Returns:
        The key itself. It is nowhere else, and cannot be shown again.

    Raises:
        KeysError: the name is taken or no name, or the file cannot be used.
    """
    if re.fullmatch(KEY_NAME, name) is None:
        rule = "a name has 1 to 63 lower-case letters, digits and hyphens, no hyphen first"
        raise KeysError(f"name {name[:80]!r}", rule, "for example ci or alice-laptop")
    secret = PREFIX + secrets.token_urlsafe(32)
    entry = StoredKey(
        name=name,
        sha256=sha256_of_key(secret),
        scopes=tuple(sorted(scopes)),
        limits=limits,
        created_at=int(time.time() if now is None else now),
    )
    with one_at_a_time(path):
        there = read_keys(path)[0] if path.exists() else KeyFile()
        if any(each.name == name for each in there.keys):
            rule = f"there is a key {name!r} already, or there was one"
            raise KeysError(f"{path}", rule, f"choose another name, e.g. {name[:60]}-2")
        _write(path, KeyFile(keys=(*there.keys, entry)))
    return secret


def revoke_key(path: Path, name: str, now: float | None = None) -> None:
    """Make a key worthless; running servers notice at the next request.

    Raises:
        KeysError: there is no such key, or the file cannot be used.
    """
    at = int(time.time() if now is None else now)
    with one_at_a_time(path):
        there = read_keys(path)[0]
        if not any(each.name == name and each.revoked_at is None for each in there.keys):
            rule = f"there is no key {name[:80]!r}, or it is revoked already"
            raise KeysError(f"{path}", rule, "see the list")
        _write(path, KeyFile(keys=tuple(_revoked(each, name, at) for each in there.keys)))


def sha256_of_key(secret: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_key(secret: str) -> bool:
    """Whether it has the form of a key; anything else need not be hashed."""
    return _SECRET.fullmatch(secret) is not None


def _revoked(entry: StoredKey, name: str, at: int) -> StoredKey:
    return entry.model_copy(update={"revoked_at": at}) if entry.name == name else entry


def _write(path: Path, content: KeyFile) -> None:
    text = canonical_json(content.model_dump(mode="json"))
    write_bytes_atomic(path, text.encode(), KeysError, mode=MODE)


def _parse(path: Path, data: bytes) -> KeyFile:
    fix = "python -m motion_ray.serving.keys create writes one"
    try:
        found = KeyFile.model_validate(_content(data))
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise KeysError(f"{path}", f"{place}: {first['msg']}", fix) from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise KeysError(f"{path}", "is not a file of API keys", fix) from fault
    names = [each.name for each in found.keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise KeysError(f"{path}", f"holds the name {twice[0]!r} twice", "remove one of them")
    return found


def _content(data: bytes) -> Any:
    """What we write is JSON, which is read a hundred times faster than YAML."""
    return json.loads(data) if data.lstrip()[:1] == b"{" else yaml.safe_load(data)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        rule = f"cannot be read: {(fault.strerror or str(fault)).lower()}"
        fix = f"make it: python -m motion_ray.serving.keys create NAME --file {path}"
        raise KeysError(f"{path}", rule, fix) from fault
