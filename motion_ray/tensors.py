"""Named tensors as a safetensors file whose bytes depend on nothing but the tensors.

The layout is the one the safetensors library writes without metadata (widest types first, then by
name; tested against it). Writing it here keeps three promises that the library does not make: the
bytes are ours to define, so that content ids outlive its versions; one tensor at a time is in
flight, so that a delta of 2.28 GB needs no second copy; and a full disk is reported with the
system's error number. Reading is the library's, which was audited; a file in any other layout is
refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motion_ray.errors import MotionRayError
from motion_ray.files import write_new_file
from motion_ray.manifest import read_limited

#: Type names of the format, in the order in which tensors of these types lie in a file.
DTYPES: dict[torch.dtype, str] = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNMENT = 8  # bytes; the header is padded with spaces up to it
LENGTH_FIELD = 8  # bytes, little endian
LARGEST_HEADER = 16 * 2**20  # bytes; 826 tensors need 0.1 MB


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file that must not exist, and fsync it.

    Args:
        path: the file.
        tensors: of the types in :data:`DTYPES`, of any shape, on any device.

    Returns:
        The sha256 of the bytes as they were written.

    Raises:
        OSError: the disk is full or broken.
    """
    digest = hashlib.sha256()

    def hashed() -> Iterator[bytes | memoryview]:
        for chunk in _chunks(tensors):
            digest.update(chunk)
            yield chunk

    write_new_file(path, hashed())
    return digest.hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of the file that :func:`write_tensors` would write."""
    digest = hashlib.sha256()
    for chunk in _chunks(tensors):
        digest.update(chunk)
    return digest.hexdigest()


def read_tensors(path: Path, error: type[MotionRayError]) -> dict[str, Tensor]:
    """Read a file of :func:`write_tensors` into memory of its own, on the CPU.

    The tensors do not map the file: what happens to it afterwards does not reach them.

    Raises:
        error: not a safetensors file, or not in the layout that :func:`write_tensors` writes.
    """
    start = read_limited(path, LENGTH_FIELD)
    length = int.from_bytes(start, "little")
    if len(start) < LENGTH_FIELD or length > min(LARGEST_HEADER, path.stat().st_size):
        raise error(f"{path}", "is not a safetensors file", "only safetensors files are accepted")
    try:
        with safe_open(path, framework="pt", device="cpu", backend="pread") as stream:
            tensors = {name: stream.get_tensor(name) for name in sorted(stream.keys())}
    except (SafetensorError, ValueError, TypeError) as fault:
        rule = f"is not a readable safetensors file: {fault}"
        raise error(f"{path}", rule, "only safetensors files are accepted") from fault
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            rule = f"tensor {name} is {tensor.dtype}".replace("torch.", "")
            raise error(f"{path}", rule, f"accepted are {', '.join(DTYPES.values())}")
    header = _header(tensors)
    if read_limited(path, len(header)) != header:
        rule = "is a safetensors file, but not in the layout that motion_ray writes"
        raise error(f"{path}", rule, "write it with motion_ray.tensors.write_tensors")
    return tensors


def _ordered(tensors: Mapping[str, Tensor]) -> list[str]:
    rank = {dtype: index for index, dtype in enumerate(DTYPES)}
    return sorted(tensors, key=lambda name: (rank[tensors[name].dtype], name))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries: dict[str, dict[str, object]] = {}
    offset = 0
    for name in _ordered(tensors):
        tensor = tensors[name]
        end = offset + tensor.nbytes
        entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_FIELD, "little") + text


def _chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of the file, one tensor at a time."""
    yield _header(tensors)
    for name in _ordered(tensors):
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data
