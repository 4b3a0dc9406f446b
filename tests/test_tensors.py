"""Tensor files: bytes that depend on the tensors only, as the library writes them; no others."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch

from motion_ray.errors import DeltaError
from motion_ray.tensors import DTYPES, read_tensors, tensors_sha256, write_tensors


def every_type() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{kind}.{dtype}".replace("torch.", ""): torch.randint(0, 2, shape, generator=generator).to(
            dtype
        )
        for kind, shape in (("odd", (3, 5)), ("scalar", ()), ("empty", (0, 4)), ("b", (7,)))
        for dtype in DTYPES
    }
    return {**tensors, 'quote"é': torch.randn(2, generator=generator)}


def test_bytes_are_those_of_the_library(tmp_path):
    tensors = every_type()
    digest = write_tensors(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == safetensors.torch.save(tensors)
    assert digest == tensors_sha256(tensors)
    assert digest == hashlib.sha256((tmp_path / "ours").read_bytes()).hexdigest()


def test_read_gives_back_every_bit(tmp_path):
    tensors = every_type()
    write_tensors(tmp_path / "file", tensors)
    found = read_tensors(tmp_path / "file", DeltaError)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_bytes_do_not_depend_on_order_or_memory_layout(tmp_path):
    dense = {"b": torch.arange(12.0).reshape(3, 4), "a": torch.ones(2)}
    strided = {"a": torch.ones(1).expand(2), "b": torch.arange(12.0).reshape(3, 4).T.contiguous().T}
    assert not strided["b"].is_contiguous()
    assert tensors_sha256(dense) == tensors_sha256(strided)
    dense["b"][0, 0] = 1.0
    assert tensors_sha256(dense) != tensors_sha256(strided)


def test_tensors_live_apart_from_their_file(tmp_path):
    """The library's default maps the file: what happens to it later would change the tensors."""
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.ones(4096)})
    found = read_tensors(path, DeltaError)
    with path.open("r+b") as stream:
        stream.seek(-4096, 2)
        stream.write(b"\0" * 4096)
    assert torch.equal(found["a"], torch.ones(4096))


def hostile(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    {
        "empty": b"",
        "short": b"\1\2\3",
        "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94.",
        "zip": b"PK\x03\x04" + b"\0" * 60,
        "length 2^63": hostile({}, length=2**63),
        "length beyond the file": hostile({}, length=200 * 2**20),
        "not json": hostile(b"{{{{{{{{"),
        "overlap": hostile({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, b"\0" * 12),
        "gap": hostile({"a": entry(4, 12, [2])}, b"\0" * 12),
        "negative": hostile({"a": entry(-8, 0, [2])}, b"\0" * 8),
        "shape": hostile({"a": entry(0, 8, [3])}, b"\0" * 8),
        "huge shape": hostile({"a": entry(0, 8, [2**62, 4])}, b"\0" * 8),
        "unknown type": hostile({"a": entry(0, 8, [2], "X9")}, b"\0" * 8),
        "unwanted type": hostile({"a": entry(0, 16, [2], "C64")}, b"\0" * 16),
        "data missing": hostile({"a": entry(0, 8, [2])}, b"\0" * 4),
        "data left over": hostile({"a": entry(0, 8, [2])}, b"\0" * 12),
        "metadata": safetensors.torch.save({"a": torch.ones(2)}, {"author": "me"}),
        "padding": hostile(json.dumps({"a": entry(0, 8, [2])}).encode() + b"  ", b"\0" * 8),
    }.items(),
    ids=lambda item: item[0],
)
def test_everything_else_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content[1])
    with pytest.raises(DeltaError, match="file"):
        read_tensors(tmp_path / "file", DeltaError)
