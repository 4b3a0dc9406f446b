"""Several processes that train one model: each takes a share of every batch.

All draw the same whole batch from the number of the step and keep their own examples of it, so a
training has the same course on one process and on many, up to rounding. Gradients are averaged by
torch's ``DistributedDataParallel``. Who starts the processes is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from motion_ray.errors import ConfigError


@dataclass(frozen=True)
class Replicas:
    """This process among those that train together.

    Attributes:
        rank: 0 writes files and reports.
        count: 1: it is alone, and nothing here communicates.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, examples: Tensor) -> Tensor:
        """This process's part of a batch that all drew alike, along the first dimension."""
        return examples[self.rank :: self.count]

    def check_share(self, name: str, batch: int, parts: int = 1) -> None:
        """Refuse a batch that cannot be shared equally: the mean of means would not be the mean.

        Args:
            name: of the setting.
            batch: its value.
            parts: that the smallest batch made of it is smaller by.

        Raises:
            ConfigError: naming the setting.
        """
        unit = parts * self.count
        if batch % unit:
            rule = f"{batch} is not a multiple of {unit}, so {self.count} workers cannot share it"
            fix = f"for example --set {name}={unit * max(1, round(batch / unit))}"
            raise ConfigError(name, rule, fix)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module to call in training: with several processes its gradients are averaged."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a detached value over all processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.count
        return value

    def wait(self) -> None:
        """Return once all processes are here."""
        if self.count > 1:
            distributed.barrier()


def current_replicas() -> Replicas:
    """What torch.distributed says about this process; alone if it was not initialised."""
    if not distributed.is_available() or not distributed.is_initialized():
        return Replicas()
    return Replicas(distributed.get_rank(), distributed.get_world_size())


def training_device() -> torch.device:
    """The GPU that this process was given, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
