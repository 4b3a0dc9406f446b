"""Publishing a motion that lies on the server's side, at a place that the operator has named.

A client names a delta's folder by path or URI. It is looked at only if it lies below one of the
places of an allow-list, after links and ``..`` are resolved: otherwise whoever may register motions
could read any file of this machine, or make it call any address.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import fsspec.core

from motion_ray.errors import ConfigError, RequestError, StoreError
from motion_ray.remote import reached
from motion_ray.serving.uploads import (
    FILES,
    BaseLayout,
    UploadLimits,
    check_motion_name,
    publish_folder,
    publish_upload,
)
from motion_ray.store import DeltaRecord, DeltaStore

LONGEST_SOURCE = 1024  # characters
#: A plain address: no user, query, fragment, escape or chain of filesystems.
_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+-]*)://(?P<path>[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)")
_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
#: These send the reader on to other addresses, or unpack what they find.
_REFUSED = frozenset(
    {"http", "https", "ftp", "zip", "tar", "simplecache", "filecache", "reference"}
)


@dataclass(frozen=True)
class AllowedSources:
    """Places from which motions may be registered; none: no registration at all.

    Attributes:
        folders: of this machine, with links resolved.
        addresses: such as ``s3://bucket/motions``.
    """

    folders: tuple[Path, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, places: tuple[str, ...]) -> AllowedSources:
        """From the settings of a server.

        Args:
            places: folders and URIs.

        Raises:
            ConfigError: one that cannot be such a place.
        """
        folders: list[Path] = []
        addresses: list[str] = []
        for place in places:
            if "://" not in place:
                folders.append(Path(place).expanduser().resolve())
            elif _plain(place.rstrip("/")):
                addresses.append(place.rstrip("/"))
            else:
                rule = f"{place!r} is no plain address of a store"
                raise ConfigError("sources", rule, "for example s3://bucket/motions")
        return cls(tuple(folders), tuple(addresses))

    def folder(self, source: str) -> Path:
        """A folder of this machine that a client names, resolved.

        Raises:
            RequestError: it lies elsewhere, or cannot be a path. Whether it exists is not told.
        """
        try:
            path = Path(source).resolve()
        except (OSError, ValueError, RuntimeError) as fault:  # a NUL, too long, a loop of links
            raise _elsewhere() from fault
        if not any(path.is_relative_to(each) for each in self.folders):
            raise _elsewhere()
        return path

    def address(self, source: str) -> str:
        """A URI that a client names.

        Raises:
            RequestError: it lies elsewhere, or is no plain address.
        """
        address = source.rstrip("/")
        if not _plain(address) or not any(
            address.startswith(f"{each}/") for each in self.addresses
        ):
            raise _elsewhere()
        return address


def register(
    store: DeltaStore,
    source: str,
    name: str,
    *,
    allowed: AllowedSources,
    base: BaseLayout | None = None,
    limits: UploadLimits | None = None,
) -> DeltaRecord:
    """Publish the delta in a folder that the server can reach. Blocks; call it in a thread.

    Args:
        store: where it goes.
        source: the folder of a delta: a path, or a URI that fsspec opens.
        name: the motion's in the store.
        allowed: places that the operator has named.
        base: the one that is served; null: the motion is checked in itself only.
        limits: of sizes.

    Raises:
        RequestError: it lies elsewhere, there is no delta, or as :func:`publish_upload`.
        TooLargeError: as :func:`publish_upload`, and so on.
        StoreError: the place cannot be reached.
    """
    check_motion_name(name)
    if len(source) > LONGEST_SOURCE:
        raise _elsewhere()
    if "://" not in source:
        folder = allowed.folder(source)
        return publish_folder(store, folder, name, base=base, limits=limits)
    with _opened(allowed.address(source)) as files:
        return publish_upload(store, files, name, base=base, limits=limits)


@contextlib.contextmanager
def _opened(address: str) -> Iterator[dict[str, BinaryIO]]:
    """The files of a delta at an address, to be read piece by piece."""
    with contextlib.ExitStack() as stack:
        try:
            with reached("source", StoreError):
                files = _open_each(address, stack)
        except OSError as fault:
            rule = "holds no delta that can be read"
            raise RequestError("source", rule, f"it has {', '.join(FILES)}") from fault
        yield files


def _open_each(address: str, stack: contextlib.ExitStack) -> dict[str, BinaryIO]:
    try:
        filesystem, root = fsspec.core.url_to_fs(address)
        opened = ((name, filesystem.open(f"{root}/{name}", "rb")) for name in FILES)
        return {name: cast(BinaryIO, stack.enter_context(file)) for name, file in opened}
    except (ImportError, ValueError) as fault:
        rule = "this server has no access to addresses of that kind"
        raise RequestError("source", rule, "upload the motion instead") from fault


def _plain(address: str) -> bool:
    match = _URI.fullmatch(address)
    return match is not None and match["scheme"] not in _REFUSED and not _DOTS.search(match["path"])


def _elsewhere() -> RequestError:
    rule = "lies in no place from which motions may be registered here"
    return RequestError("source", rule, "upload the motion, or ask the operator for the place")
