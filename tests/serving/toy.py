"""A base model of four parameters, and motions for it: for tests of everything but the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from motion_ray.customization.delta import DeltaHeader, MotionDelta
from motion_ray.errors import BaseModelError, DeltaError
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import PoolConfig
from motion_ray.serving.tier import OVERHEAD
from motion_ray.store import DeltaRecord
from tests.waiting import PATIENCE

FINGERPRINT = "toy" * 8
SHAPES = {"a": (8, 8), "b": (8,), "c": (4, 8, 3), "d": (16,)}
TOKENS = ("pll", "sks", "PLL")  # the first and the last are one row, as CLIP's tokenizers have it


class ToyBase:
    """A denoiser with parameters a, b, c and d, and a table of embeddings."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.denoiser: nn.Module = nn.ParameterDict(
            {
                name: nn.Parameter(
                    torch.randn(shape, generator=generator).to(dtype), requires_grad=False
                )
                for name, shape in SHAPES.items()
            }
        )
        self.fingerprint = FINGERPRINT
        self.table = {"pll": torch.arange(4.0), "sks": torch.arange(4.0) + 10}

    def set_token_embedding(self, token: str, row: Tensor) -> Tensor:
        if token not in TOKENS:
            raise BaseModelError("toy", f"does not know {token}")
        previous = self.table[token.lower()].clone()
        self.table[token.lower()][:] = row
        return previous

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Address and bytes of everything."""
        everything = dict(self.denoiser.named_parameters()) | self.table
        return {
            name: (each.data_ptr(), each.detach().view(torch.uint8).numpy().tobytes())
            for name, each in everything.items()
        }

    def values(self) -> dict[str, Tensor]:
        """Copies of the parameters."""
        return {name: each.detach().clone() for name, each in self.denoiser.named_parameters()}


def toy_delta(seed: int, names: str = "abc", **header: object) -> MotionDelta:
    """A motion that replaces these parameters by values of this seed."""
    generator = torch.Generator().manual_seed(1000 + seed)
    tensors: dict[str, Tensor] = {}
    form = header.get("parametrization")
    for name in names:
        shape = SHAPES[name]
        if form == "lora":
            columns = torch.empty(shape)[0].numel()
            tensors[f"{name}.lora_a"] = torch.randn(2, columns, generator=generator)
            tensors[f"{name}.lora_b"] = torch.randn(shape[0], 2, generator=generator)
        elif form == "int8" and len(shape) > 1:
            codes = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
            tensors[f"{name}.int8"] = codes
            tensors[f"{name}.int8_scale"] = torch.rand(shape[0], generator=generator) / 99 + 1e-3
        else:
            tensors[name] = torch.randn(shape, generator=generator)
    if row := header.pop("row", None):
        tensors["token_embedding"] = torch.full((4,), float(row))  # type: ignore[arg-type]
    values: dict[str, object] = {
        "base_fingerprint": FINGERPRINT,
        "base": "toy",
        "recipe": "test",
        "name": f"m{seed}",
        "token": "pll",
        "template": "a person doing the <token>",
        "step": seed,
    }
    return MotionDelta(DeltaHeader.model_validate(values | header), tensors)


def record_of(delta: MotionDelta, name: str | None = None, version: int = 1) -> DeltaRecord:
    """What a store would say about it."""
    header = delta.header
    return DeltaRecord(
        name=name or header.name,
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


class Library:
    """A source of deltas in memory that counts its loads, and can be slow or broken."""

    def __init__(self, *deltas: MotionDelta, seconds: float = 0.0) -> None:
        self.deltas = {delta.sha256: delta for delta in deltas}
        self.broken: set[str] = set()
        self.seconds = seconds
        self.open = threading.Event()  # nothing is loaded while it is not set
        self.open.set()
        self.loads: list[str] = []
        self.threads: list[threading.Thread] = []  # that loaded
        self.at_once, self.most_at_once = 0, 0
        self._lock = threading.Lock()

    def add(self, delta: MotionDelta) -> DeltaRecord:
        self.deltas[delta.sha256] = delta
        return record_of(delta)

    def load(self, record: DeltaRecord) -> MotionDelta:
        with self._lock:
            self.loads.append(record.sha256)
            self.threads.append(threading.current_thread())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.seconds)
            assert self.open.wait(PATIENCE)
            if record.sha256 in self.broken:
                raise DeltaError(record.reference, "is damaged", "publish it again")
            found = self.deltas[record.sha256]
            # Memory of its own, as a delta from disk has.
            copies = {name: tensor.clone() for name, tensor in found.tensors.items()}
            return MotionDelta(found.header, copies, found.digest)
        finally:
            with self._lock:
                self.at_once -= 1


def expected(delta: MotionDelta, base: ToyBase) -> dict[str, Tensor]:
    """All parameters of the base with one motion."""
    values: Mapping[str, Tensor] = base.values()
    return {**values, **delta.values(values)}


SIZE = toy_delta(0).nbytes + OVERHEAD  # of one motion in a tier


def single(record: DeltaRecord) -> Mix:
    """A motion by itself."""
    return Mix.of([(record, 1.0)])


def budgets(device: int = 100, host: int = 100, **changes: object) -> PoolConfig:
    """Budgets in motions."""
    values = {"device_bytes": device * SIZE, "host_bytes": host * SIZE} | changes
    return PoolConfig.model_validate(values)
