"""How much of a cluster one training worker asks for, and how many of them it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from motion_ray.cluster.environment import Device
from motion_ray.errors import ConfigError

CPU_THREADS = 2  # enough for the embedded base; more is asked for with engine.threads
GPU_LOADERS = 4  # decoding and writing videos beside the GPU
Nodes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class WorkerResources:
    """One training worker's share.

    Attributes:
        device: with or without a GPU.
        cpus: CPU cores; torch's thread count follows it on CPU.
        gpus: of a worker with a GPU: how many, or a part of one.
    """

    device: Device
    cpus: float
    gpus: float = 1.0

    def __str__(self) -> str:
        cores = f"{self.cpus:g} CPU core" + ("s" if self.cpus > 1 else "")
        return f"{self.gpus:g} GPU and {cores}" if self.device == "gpu" else cores

    @property
    def threads(self) -> int:
        """For torch on a CPU."""
        return max(1, int(self.cpus))

    def as_ray(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.device == "gpu" else {})}


def choose_resources(
    nodes: Nodes, wanted: Literal["auto", "cpu", "gpu"], threads: int | None
) -> WorkerResources:
    """Pick what the worker asks for, so that some node can hold it.

    Args:
        nodes: what ``ray.nodes()`` returns.
        wanted: ``auto`` takes a GPU if a node has one now; ``gpu`` also waits for an autoscaler to
            bring one.
        threads: ``engine.threads`` of the run; null: a modest default.

    Raises:
        ConfigError: no node has a CPU core to give.
    """
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    with_gpu = [node for node in alive if node.get("GPU", 0) >= 1 and node.get("CPU", 0) >= 1]
    if wanted == "gpu" or (wanted == "auto" and with_gpu):
        # A fair share per GPU, so that all GPUs of a node can be used at once.
        share = max((int(node["CPU"] // node["GPU"]) for node in with_gpu), default=threads or 1)
        return WorkerResources("gpu", max(1, min(share, threads or GPU_LOADERS)))
    most = max((int(node.get("CPU", 0)) for node in alive), default=0)
    if most < 1:
        raise ConfigError(
            "cluster",
            "no node has a CPU core for the training worker",
            "start one with ray start --num-cpus 2",
        )
    return WorkerResources("cpu", min(most, threads or CPU_THREADS))


def count_workers(nodes: Nodes, resources: WorkerResources) -> int:
    """How many workers with these resources fit on the nodes that are alive.

    Args:
        nodes: what ``ray.nodes()`` returns.
        resources: of each worker.
    """
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    return sum(
        min(_shares(name, node.get(name, 0), each) for name, each in resources.as_ray().items())
        for node in alive
    )


def _shares(name: str, there: float, each: float) -> int:
    if name == "GPU" and each < 1:
        return int(1 / each) * int(there)  # a part of a GPU lies on one of them
    return int(there / each)
