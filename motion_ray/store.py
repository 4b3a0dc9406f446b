"""A store of deltas: content-addressed, versioned by name, safe for several publishers.

Publishing writes the object first and the ref last, so a name never points at half a delta; the
same content published again is the version that is there. Loading checks every byte and the content
id.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path

import fsspec.core
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import BrokenRefError, DeltaError, StoreError, UnknownMotionError
from motion_ray.manifest import canonical_json
from motion_ray.shelves import LocalShelf, RemoteShelf, Shelf

log = logging.getLogger(__name__)

NAME = r"[a-z0-9][a-z0-9-]{0,62}"
NAME_RULE = "a name has 1 to 63 lower-case letters, digits and hyphens, no hyphen first"
_REFERENCE = re.compile(rf"({NAME})(?:@([1-9][0-9]{{0,8}}))?", re.ASCII)


class DeltaRecord(BaseModel):
    """What a store knows about a version without opening it.

    Attributes:
        name: of the motion in the store.
        version: 1, 2, ...
        sha256: content id of the delta.
        nbytes: of its tensors.
        base_fingerprint: of the base model that it needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=rf"^{NAME}$")
    version: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    nbytes: int = Field(ge=1)
    base_fingerprint: str
    base: str
    recipe: str
    token: str
    template: str
    step: int

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


class DeltaStore:
    """Deltas under ``name@version``.

    Args:
        uri: a local folder, made by the first :meth:`publish`; or an fsspec URI such as
            ``s3://bucket/motions``, see :class:`motion_ray.shelves.RemoteShelf`.

    Raises:
        StoreError: no filesystem is installed for the URI.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        self._shelf = _open(self.uri)

    def publish(self, delta: MotionDelta, name: str) -> str:
        """Put a delta into the store; the same content again gives the version that is there.

        Args:
            delta: what to publish.
            name: lower-case letters, digits and hyphens, e.g. ``swinging-arms``.

        Returns:
            ``name@version``.

        Raises:
            StoreError: a bad name, or the store is full, broken or read-only.
            DeltaError: the delta holds NaN or infinite values, or was changed after it was made.
        """
        check_name(name)
        self._shelf.put(delta)
        versions = self._shelf.versions(name)
        for version in reversed(versions):
            if self._names(name, version, delta):
                return f"{name}@{version}"
        version = versions[-1] + 1 if versions else 1
        while not self._shelf.create_ref(name, version, _seal(_record(delta, name, version))):
            # Another publisher took this version in this moment: with our content, or with other.
            # A number that was withdrawn is passed over.
            there = version in self._shelf.versions(name)
            if there and self._names(name, version, delta):
                break
            version += 1
        return f"{name}@{version}"

    def withdraw(self, reference: str) -> list[DeltaRecord]:
        """Take back ``name@version``, or with ``name`` all versions that there are.

        Nobody finds them by name any more, and their numbers are not given out again. The objects
        stay: they may be the content of other names.

        Returns:
            What was taken back, oldest first.

        Raises:
            UnknownMotionError: no such name or version.
            StoreError: a malformed reference, or the store cannot be read or written.
        """
        newest = self.resolve(reference)
        name, version = _parse(reference)
        versions = self._shelf.versions(name) if version is None else [newest.version]
        records = [self.resolve(f"{name}@{each}") for each in versions]
        return [each for each in records if self._shelf.withdraw(name, each.version)]

    def load(self, reference: str) -> MotionDelta:
        """A delta by ``name`` (newest version) or ``name@version``, verified, in CPU memory.

        Raises:
            StoreError: see :meth:`resolve`; or the delta cannot be read now, which says nothing
                about it.
            DeltaError: the delta is damaged or missing, or its place holds another one.
        """
        record = self.resolve(reference)
        delta = self._shelf.load(record.sha256)
        if delta.sha256 != record.sha256:
            rule = f"its place holds another delta ({delta.header.name!r})"
            fix = "publish it again, or restore the store's files"
            raise DeltaError(f"{self.uri}: {record.reference}", rule, fix)
        return delta

    def resolve(self, reference: str) -> DeltaRecord:
        """What the store knows about ``name`` (newest version) or ``name@version``.

        Raises:
            UnknownMotionError: no such name or version.
            BrokenRefError: what the store says about the version is damaged.
            StoreError: a malformed reference, or the store cannot be read: also one that had
                motions and whose place is gone, for example because it is not mounted.
        """
        name, version = _parse(reference)
        versions = self._shelf.versions(name)
        if not versions:
            all_there = self.versions()
            # A network filesystem remembers for a while what was not there; listed from the top, a
            # folder is found that just now was not.
            versions = [number for known, number in all_there if known == name]
            if not versions:
                known = listed(dict.fromkeys(known for known, _ in all_there)) or "nothing yet"
                raise UnknownMotionError(self.uri, f"has no motion {name!r}", f"it holds: {known}")
        if version is not None and version not in versions:
            there = ", ".join(map(str, versions))
            raise UnknownMotionError(
                self.uri, f"has no {reference}", f"versions of {name}: {there}"
            )
        return self._read(name, version or versions[-1])

    def list(self) -> list[DeltaRecord]:
        """All versions of all names, sorted. A damaged ref is logged and left out."""
        found = [self._read_or_log(name, version) for name, version in self.versions()]
        return [record for record in found if record is not None]

    def names(self) -> list[str]:
        """Names, sorted, also those of which all versions were withdrawn: one look, however many.

        Raises:
            StoreError: the store cannot be read.
        """
        return [name for name in self._shelf.names() if re.fullmatch(NAME, name)]

    def versions(self) -> list[tuple[str, int]]:
        """Names and versions, sorted, without looking into any ref: far quicker than :meth:`list`.

        Raises:
            StoreError: the store cannot be read.
        """
        return [(name, version) for name in self.names() for version in self._shelf.versions(name)]

    def _names(self, name: str, version: int, delta: MotionDelta) -> bool:
        record = self._read_or_log(name, version)
        return record is not None and record.sha256 == delta.sha256

    def _read_or_log(self, name: str, version: int) -> DeltaRecord | None:
        try:
            return self._read(name, version)
        except StoreError as damage:
            log.warning("left out: %s", damage)
            return None

    def _read(self, name: str, version: int) -> DeltaRecord:
        where = f"{self.uri}/refs/{name}/{version}.json"
        data = self._shelf.read_ref(name, version)
        try:
            record = DeltaRecord.model_validate(json.loads(data)["record"])
            intact = _seal(record) == data
        except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as fault:
            rule = "is damaged: not a ref"
            raise BrokenRefError(where, rule, "publish the motion again") from fault
        if not intact or (record.name, record.version) != (name, version):
            rule = "is damaged: its content changed"
            raise BrokenRefError(where, rule, "publish the motion again")
        return record


def listed(names: Iterable[str], at_most: int = 20) -> str:
    """Names for a message: all of them, or the first ones and how many more there are."""
    names = sorted(names)
    rest = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + rest


def check_name(name: str) -> None:
    """Refuse what cannot be a name in a store, for example before a long training.

    Raises:
        StoreError: not ``^[a-z0-9][a-z0-9-]{0,62}$``.
    """
    if re.fullmatch(NAME, name) is None:
        raise StoreError(f"name {name[:80]!r}", NAME_RULE, "for example swinging-arms")


def _open(uri: str) -> Shelf:
    if "://" not in uri:
        return LocalShelf(Path(uri).expanduser())
    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as fault:
        raise StoreError(uri, f"cannot be opened: {fault}", "for example ./store") from fault
    if isinstance(filesystem, LocalFileSystem):
        return LocalShelf(Path(root))
    return RemoteShelf(filesystem, root)


def _parse(reference: str) -> tuple[str, int | None]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        example = "for example swinging-arms or swinging-arms@2"
        raise StoreError(f"motion {reference[:80]!r}", f"{NAME_RULE}, then maybe @version", example)
    return match[1], int(match[2]) if match[2] else None


def _record(delta: MotionDelta, name: str, version: int) -> DeltaRecord:
    header = delta.header
    return DeltaRecord(
        name=name,
        version=version,
        sha256=delta.sha256,
        nbytes=delta.nbytes,
        base_fingerprint=header.base_fingerprint,
        base=header.base,
        recipe=header.recipe,
        token=header.token,
        template=header.template,
        step=header.step,
    )


def _seal(record: DeltaRecord) -> bytes:
    """Text of a ref: the record and its sha256, so that no changed bit of it goes unnoticed."""
    content = record.model_dump(mode="json")
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    return canonical_json({"record": content, "sha256": digest}).encode()
