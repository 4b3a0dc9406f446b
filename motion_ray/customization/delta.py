"""A learned motion: the parameter values that replace the base model's (paper section 3.2, Eq. 2).

On disk a delta is a directory: ``header.json``, ``tensors.safetensors`` and, written last, a
manifest with the sha256 and size of both. Applying it swaps the storage of parameters; nothing is
added or subtracted, so the base comes back bit for bit however often that happens.

Shape legend: a tensor has the shape of the denoiser parameter of the same name (low-rank and
compressed deltas: :mod:`motion_ray.customization.forms`); ``token_embedding`` is ``[d]``, d the
text width.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from motion_ray.customization.forms import FLOATS, FORMS, Form, Parametrization
from motion_ray.customization.swap import (
    DeltaTarget,
    TokenRow,
    alone_on,
    are_finite,
    exchanged,
    fitted,
    row_misfit,
)
from motion_ray.errors import DeltaError
from motion_ray.files import atomic_directory, write_new_file
from motion_ray.manifest import canonical_json, read_limited, reading, verify_manifest
from motion_ray.tensors import DTYPES, read_tensors, tensors_sha256, write_tensors

FORMAT = "motion_ray.delta/1"
HEADER_FILE = "header.json"
TENSOR_FILE = "tensors.safetensors"
TOKEN_EMBEDDING = "token_embedding"
"""The tensor that replaces a row of the text encoder instead of a parameter of the denoiser."""

LARGEST_HEADER = 16 * 2**20  # bytes
IDENTITY = frozenset(
    {"format", "base_fingerprint", "recipe", "name", "token", "template", "step", "parametrization"}
)


class DeltaHeader(BaseModel):
    """Where a delta comes from and what it needs.

    Identity (part of the content id) are format, base_fingerprint, recipe, name, token, template,
    step and parametrization. The rest is for the record: it may hold paths, times and versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["motion_ray.delta/1"] = FORMAT
    base_fingerprint: str = Field(min_length=1, description="sha256 of the base it was made for")
    base: str = Field(description="what that base was called, for messages")
    recipe: str
    name: str = Field(min_length=1, description="of the motion")
    token: str = Field(min_length=1, description="V*, e.g. pll")
    template: str = Field(description="caption with the slot <token>")
    step: int = Field(ge=0, description="optimizer steps behind these weights")
    parametrization: Parametrization = Field(
        default="full",
        description="whole values, or their change as low-rank factors or in eight bits",
    )
    config: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}
    sources: dict[str, str] = Field(default={}, description="training file -> sha256")
    versions: dict[str, str] = Field(default={}, description="package -> version")


@dataclass(frozen=True, eq=False)
class MotionDelta:
    """A motion that can be applied to the base it was made for.

    Attributes:
        header: where it comes from.
        tensors: denoiser parameter name (or ``token_embedding``) to its new value; not to be
            changed afterwards.
        digest: sha256 of the tensor file where it is known already; computed on demand otherwise.

    Raises:
        DeltaError: no tensors at all, or one of a type that the form does not have there.
    """

    header: DeltaHeader
    tensors: Mapping[str, Tensor]
    digest: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.tensors:
            raise DeltaError(self._where, "holds no tensors: applying it would do nothing")
        for name, tensor in self.tensors.items():
            types = FLOATS if name == TOKEN_EMBEDDING else self._form.types(name)
            if tensor.dtype not in types:
                rule = f"tensor {name} is {tensor.dtype}".replace("torch.", "")
                known = " or ".join(map(str, types)).replace("torch.", "")
                raise DeltaError(self._where, rule, f"use {known}")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @cached_property
    def sha256(self) -> str:
        """The content id: over the bytes of the tensor file and the identity part of the header.

        Clocks, hosts, paths and versions have no part in it.
        """
        return _content_id(self.header, self.digest or tensors_sha256(self.tensors))

    # --- disk -------------------------------------------------------------------------------------

    def save(self, directory: Path) -> None:
        """Write it durably, all or nothing.

        Args:
            directory: must not exist, or be empty.

        Raises:
            DeltaError: the directory is taken, the disk is full or broken, or a value is NaN or
                infinite.
        """
        with atomic_directory(directory, DeltaError, expected_bytes=self.nbytes) as temporary:
            self.write_into(temporary)

    def write_into(self, directory: Path) -> str:
        """Write the header and the tensors, without a manifest, for callers that see to durability.

        Returns:
            The content id of what was written.

        Raises:
            DeltaError: a value is NaN or infinite, or cannot be written as JSON.
            OSError: the disk is full or broken.
        """
        _check_finite(self.tensors, self._where)
        try:
            text = canonical_json(
                {"header": self.header.model_dump(mode="json"), "tensors": _layout(self.tensors)}
            )
        except ValueError as fault:
            rule = f"the header cannot be written as JSON: {fault}"
            raise DeltaError(self._where, rule, "leave out values that are not finite") from fault
        write_new_file(directory / HEADER_FILE, [text.encode()])
        return _content_id(self.header, write_tensors(directory / TENSOR_FILE, self.tensors))

    @staticmethod
    def load(directory: Path) -> MotionDelta:
        """Read a delta into CPU memory, after checking every byte of it against the manifest.

        Raises:
            DeltaError: which file is missing, extra, damaged or a link; which tensor is missing,
                extra, of another shape or type than declared, NaN or infinite; which header field
                is wrong; or the system cannot read it (:func:`motion_ray.manifest.may_pass`).
        """
        directory = Path(directory)
        with reading(directory, DeltaError):
            header, declared, digest = _open(directory)
            tensors = read_tensors(directory / TENSOR_FILE, DeltaError)
        _compare_layout(directory / TENSOR_FILE, declared, _layout(tensors))
        _check_finite(tensors, f"{directory / TENSOR_FILE}")
        return MotionDelta(header, tensors, digest)

    @staticmethod
    def identify(directory: Path) -> str:
        """The content id of a delta on disk: every byte is checked, but no tensor is loaded.

        Raises:
            DeltaError: as :meth:`load`, as far as it shows without looking at values.
        """
        directory = Path(directory)
        with reading(directory, DeltaError):
            header, _, digest = _open(directory)
        return _content_id(header, digest)

    # --- application ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def applied(self, backbone: DeltaTarget) -> Iterator[None]:
        """The base model with this motion; on leaving, the base as it was, bit for bit.

        Parameters get the delta's own storage (no copy where type and device match and parameters
        may move), so they must not be trained meanwhile. One delta at a time: two motions at once
        would be neither.

        Raises:
            DeltaError: made for another base; a tensor that the base does not have, or of another
                shape; a value too large for the base's type; a delta is applied here already.
            BaseModelError: the base's tokenizer does not know the token (trained tokens only).
        """
        self.check_base(backbone.fingerprint)
        label = f"{self.header.name!r} (step {self.header.step})"
        with alone_on(backbone.denoiser, self._where, label):
            parameters = dict(backbone.denoiser.named_parameters())
            base = {name: each.data for name, each in parameters.items()}
            with exchanged(backbone, self.values(base), self.rows, self._where, parameters):
                yield

    def check_base(self, fingerprint: str) -> None:
        """Refuse a base model that this delta was not made for.

        Raises:
            DeltaError: the fingerprints differ.
        """
        if self.header.base_fingerprint != fingerprint:
            made_for = f"{self.header.base_fingerprint[:8]}.. ({self.header.base})"
            rule = f"made for base {made_for}, this is {fingerprint[:8]}.."
            raise DeltaError(self._where, rule, "load that base, or customize again on this one")

    @property
    def parameters(self) -> list[str]:
        """Names of the denoiser's parameters that this delta replaces, sorted.

        Raises:
            DeltaError: a tensor lacks its partner.
        """
        return self._form.parameters(self.tensors.keys() - {TOKEN_EMBEDDING}, self._where)

    def values(self, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New value of every parameter, whole, in the base's type and on its device.

        Args:
            base: parameter name to the base model's own value.

        Raises:
            DeltaError: as :meth:`applied`.
        """
        self.check_fits(base)
        return fitted(
            ((name, self._form.value(self.tensors, name, base[name])) for name in self.parameters),
            base,
            self._where,
            computed=self.header.parametrization != "full",
        )

    def change(self, name: str, base: Mapping[str, Tensor]) -> Tensor:
        """How far this delta moves one parameter from the base, float32 on the base's device.

        Args:
            name: one of :attr:`parameters`.
            base: parameter name to the base model's own value; :meth:`check_fits` has passed.
        """
        return self._form.change(self.tensors, name, base[name])

    def check_fits(self, base: Mapping[str, Tensor]) -> None:
        """Compare names and shapes with a base model's, without computing any value.

        Raises:
            DeltaError: a parameter that the base does not have, or of another shape; a scale that
                cannot be used; or the token's row is not one row.
        """
        self._check_row()
        for name in self.parameters:
            self._form.check(self.tensors, name, base, self._where)

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """The row of the trained token; nothing if the token is fixed.

        Raises:
            DeltaError: it is not one row.
        """
        self._check_row()
        row = self.tensors.get(TOKEN_EMBEDDING)
        # A copy: what was packed with other tensors would keep all of them in memory.
        return () if row is None else (TokenRow(self.header.token, row.clone()),)

    def _check_row(self) -> None:
        row = self.tensors.get(TOKEN_EMBEDDING)
        if row is not None and row.dim() != 1:
            raise row_misfit(row, "it is one row of the text encoder, [d]", self._where)

    @property
    def _form(self) -> Form:
        return FORMS[self.header.parametrization]

    @property
    def _where(self) -> str:
        return f"delta {self.header.name!r}"


def _content_id(header: DeltaHeader, digest: str) -> str:
    content = {"header": header.model_dump(mode="json", include=set(IDENTITY)), "tensors": digest}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _open(directory: Path) -> tuple[DeltaHeader, object, str]:
    """Check a folder; its header, the declared layout of its tensors, and their file's sha256."""
    if not directory.is_dir():
        raise DeltaError(f"{directory}", "there is no such delta folder", "check the path")
    manifest = verify_manifest(directory, DeltaError)
    if extra := sorted(manifest.keys() - {HEADER_FILE, TENSOR_FILE}):
        rule = f"a delta holds only {HEADER_FILE}, {TENSOR_FILE} and its manifest"
        raise DeltaError(f"{directory / extra[0]}", rule, "remove it and save the delta again")
    if missing := sorted({HEADER_FILE, TENSOR_FILE} - manifest.keys()):
        raise DeltaError(f"{directory / missing[0]}", "is missing", "use another copy of it")
    header, declared = _read_header(directory / HEADER_FILE)
    return header, declared, manifest[TENSOR_FILE].sha256


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, object]]:
    """What the header says about each tensor, so that one that is lost has a name."""
    return {n: {"dtype": DTYPES[t.dtype], "shape": list(t.shape)} for n, t in tensors.items()}


def _compare_layout(where: Path, declared: object, found: dict[str, dict[str, object]]) -> None:
    if not isinstance(declared, dict):
        raise DeltaError(f"{where}", "the header does not say which tensors there are")
    if missing := sorted(declared.keys() - found.keys()):
        raise DeltaError(f"{where}", f"tensor {missing[0]} is missing, the header declares it")
    if extra := sorted(found.keys() - declared.keys()):
        raise DeltaError(f"{where}", f"tensor {extra[0]} is extra, the header does not declare it")
    for name, layout in found.items():
        if layout != declared[name]:
            rule = f"tensor {name} is {layout}, the header declares {declared[name]}"
            raise DeltaError(f"{where}", rule)


def _read_header(path: Path) -> tuple[DeltaHeader, object]:
    try:
        content = json.loads(read_limited(path, LARGEST_HEADER))
        return DeltaHeader.model_validate(content["header"]), content["tensors"]
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        rule = f"{place}: {first['msg']}"
        if first["type"] == "literal_error":  # a form or a format that a later version has
            rule += f", not {first['input']!r:.40}"
        raise DeltaError(f"{path}", rule, "save the delta again") from fault
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise DeltaError(f"{path}", "is not a delta header", "save the delta again") from fault


def _check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    if not are_finite(*tensors.values()):
        name = next(name for name, tensor in tensors.items() if not are_finite(tensor))
        fix = "train again with a smaller learning rate"
        raise DeltaError(where, f"tensor {name} holds NaN or infinite values", fix)
