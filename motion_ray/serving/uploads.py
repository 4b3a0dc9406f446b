"""Motions that come from outside: checked on the CPU, then published whole or not at all.

A motion is the three files of a delta: header, tensors (safetensors) and the manifest with their
sizes and sha256. Nothing else is taken, and no name that a client sends becomes a path. Bytes are
counted while they arrive; every value is looked at (NaN, infinity), every name and shape is held
against the base model that is served, and only then does the store see anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion_ray.customization.delta import (
    HEADER_FILE,
    TENSOR_FILE,
    DeltaHeader,
    MotionDelta,
)
from motion_ray.customization.swap import row_misfit
from motion_ray.errors import (
    DeltaError,
    IncompatibleMotionError,
    RequestError,
    StoreError,
    TooLargeError,
)
from motion_ray.files import write_new_file
from motion_ray.manifest import MANIFEST
from motion_ray.store import NAME, NAME_RULE, DeltaRecord, DeltaStore

FILES = (HEADER_FILE, TENSOR_FILE, MANIFEST)
CHUNK = 2**20  # bytes
LONGEST_TOKEN, LONGEST_TEXT = 64, 1000  # characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class UploadLimits(BaseModel):
    """The largest motion that is taken, in bytes of each file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors: int = Field(default=4 * 2**30, ge=1, description=f"of {TENSOR_FILE}")
    header: int = Field(default=2**20, ge=1, description=f"of {HEADER_FILE}")
    manifest: int = Field(default=2**14, ge=1, description=f"of {MANIFEST}")

    def of(self, name: str) -> int:
        """The limit of one of :data:`FILES`."""
        return {HEADER_FILE: self.header, TENSOR_FILE: self.tensors, MANIFEST: self.manifest}[name]


class LoadedBase(Protocol):
    """What :meth:`BaseLayout.of` looks at; ``UNet3DBackbone`` has it, loaded or as a sketch.

    Attributes:
        denoiser: the network.
        fingerprint: of the base.
        text_width: length of a token's row, d.
    """

    denoiser: nn.Module
    fingerprint: str
    text_width: int


@dataclass(frozen=True, eq=False)
class BaseLayout:
    """Names and shapes of the base model that is served, without its weights.

    Attributes:
        fingerprint: of the base.
        parameters: of the denoiser, on the meta device.
        text_width: length of a token's row, d.
    """

    fingerprint: str
    parameters: Mapping[str, Tensor]
    text_width: int

    @classmethod
    def of(cls, base: LoadedBase) -> BaseLayout:
        """The layout of a base model that is loaded, or of a sketch of one."""
        shapes = {
            name: torch.empty(tuple(each.shape), device="meta")
            for name, each in base.denoiser.named_parameters()
        }
        return cls(base.fingerprint, shapes, base.text_width)

    def check(self, delta: MotionDelta) -> None:
        """Refuse a delta that could not be applied to this base.

        Raises:
            IncompatibleMotionError: it was made for another base, or a name or shape differs.
        """
        try:
            delta.check_base(self.fingerprint)
            delta.check_fits(self.parameters)
            for row in delta.rows:
                if row.row.shape != (self.text_width,):
                    expected = f"the base model's rows have [{self.text_width}]"
                    raise row_misfit(row.row, expected, "delta")
        except DeltaError as fault:
            count = f"of {len(delta.tensors)} tensors for {len(self.parameters)} parameters"
            rule = f"the motion, {count}, does not fit the served base: {fault.rule}"
            raise IncompatibleMotionError("files", rule, fault.fix) from fault


def publish_upload(
    store: DeltaStore,
    files: Mapping[str, BinaryIO],
    name: str,
    *,
    base: BaseLayout | None = None,
    limits: UploadLimits | None = None,
) -> DeltaRecord:
    """Take a motion that a client sends, and publish it as a new version of ``name``.

    Blocks for as long as reading, checking and writing take; call it in a thread. It needs room for
    one delta in memory and in the temporary folder of this machine (``TMPDIR``).

    Args:
        store: where it goes.
        files: name to an open stream, exactly the names in :data:`FILES`; read once, not closed.
        name: the motion's in the store; the same content again gives the version that is there.
        base: the one that is served; null: the motion is checked in itself only.
        limits: of sizes.

    Returns:
        What the store says about the version.

    Raises:
        RequestError: no name for a motion, a file too many or too few, an odd token or template.
        TooLargeError: a file is larger than its limit; it was not read further.
        DeltaError: which file is damaged, or which tensor holds what it must not.
        IncompatibleMotionError: see :meth:`BaseLayout.check`.
        StoreError: the store or the temporary folder is full or broken.
    """
    check_motion_name(name)
    check_file_names(files)
    limits = limits or UploadLimits()
    with staging() as folder:
        for each in FILES:
            receive(files[each], folder / each, limits.of(each))
        return publish_folder(store, folder, name, base=base, limits=limits)


def publish_folder(
    store: DeltaStore,
    folder: Path,
    name: str,
    *,
    base: BaseLayout | None = None,
    limits: UploadLimits | None = None,
) -> DeltaRecord:
    """The same for a delta that lies in a folder of this machine.

    Raises:
        RequestError: as :func:`publish_upload`, and so on.
    """
    check_motion_name(name)
    _check_sizes(folder, limits or UploadLimits())
    try:
        delta = MotionDelta.load(folder)
    except DeltaError as fault:
        # Clients are told the rule and not the place, which is a path; a file's name is no secret.
        part = Path(fault.where).name
        subject = f"{part}: " if part in FILES else ""
        raise DeltaError("upload", f"{subject}{fault.rule}", fault.fix) from fault
    _check_texts(delta.header)
    if base is not None:
        base.check(delta)
    return store.resolve(store.publish(delta, name))


def check_motion_name(name: str) -> None:
    """Refuse what cannot be a motion's name, as a mistake of the client's.

    Raises:
        RequestError: not ``^[a-z0-9][a-z0-9-]{0,62}$``.
    """
    if re.fullmatch(NAME, name) is None:
        raise RequestError("id", NAME_RULE, "for example swinging-arms")


def check_file_names(names: Mapping[str, object]) -> None:
    """Refuse an upload of other files than those of a delta.

    Raises:
        RequestError: one is missing or extra.
    """
    expected = f"a motion is {', '.join(FILES)}"
    if missing := sorted(set(FILES) - set(names)):
        raise RequestError("files", f"{missing[0]} is missing", expected)
    if extra := sorted(set(names) - set(FILES)):
        raise RequestError("files", f"{extra[0][:80]!r} is not taken", expected)


@contextlib.contextmanager
def staging() -> Iterator[Path]:
    """An empty folder for the files of an upload; gone at the end.

    Raises:
        StoreError: the temporary folder of this machine is full or broken.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="motion_ray-upload-") as folder:
            yield Path(folder)
    except OSError as fault:
        rule = f"cannot take an upload: {fault}"
        raise StoreError(tempfile.gettempdir(), rule, "free some space there") from fault


def receive(stream: BinaryIO, path: Path, limit: int) -> int:
    """Write a stream to a new file, and stop at the first byte above the limit.

    Returns:
        Bytes written.

    Raises:
        TooLargeError: it has more bytes.
        OSError: the disk is full or broken.
    """
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        while chunk := stream.read(CHUNK):
            count += len(chunk)
            _check_size(path.name, count, limit)
            yield chunk

    write_new_file(path, chunks())
    return count


def _check_sizes(folder: Path, limits: UploadLimits) -> None:
    """Before anything is read; only a look into the folder itself, which may be somebody's home."""
    try:
        with os.scandir(folder) as listing:
            entries = {each.name: each.stat(follow_symlinks=False).st_size for each in listing}
    except OSError as fault:
        raise RequestError("source", "is not a delta's folder", "check the path") from fault
    check_file_names(entries)
    for name, size in entries.items():
        _check_size(name, size, limits.of(name))


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        rule = f"{name} has more than {limit:,} bytes, which is the limit"
        raise TooLargeError("files", rule, "save the motion as low-rank factors, or compressed")


def _check_texts(header: DeltaHeader) -> None:
    """Texts of a header that are compared with prompts and shown to others."""
    token = header.token
    if len(token) > LONGEST_TOKEN or re.search(r"\s", token) or _CONTROL.search(token):
        rule = f"the token is no single word of at most {LONGEST_TOKEN} characters"
        raise RequestError("files", rule, "for example pll")
    for field, text in (
        ("name", header.name),
        ("base", header.base),
        ("recipe", header.recipe),
        ("template", header.template),
    ):
        if len(text) > LONGEST_TEXT or _CONTROL.search(text):
            rule = f"{field} is no line of at most {LONGEST_TEXT} characters"
            raise RequestError("files", rule, "save the motion again")
