"""Where a reproduction trains and looks: in this process, or elsewhere.

On a cluster it is ``jobs/reproduce_workers.py``; folders, names and rows are the same either way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from motion_ray.evaluation.evaluator import EvaluationSettings
from motion_ray.evaluation.workforce import OpenWorkforce, Workforce, one_here
from motion_ray.reproduction.record import Record
from motion_ray.reproduction.training import Tell, train_here


@dataclass(frozen=True)
class Workplace:
    """What a reproduction has done for it.

    Attributes:
        train: trains every cell of a record that waits; raises if it was stopped before the end.
        open_workforce: opens evaluators.
        device: in words.
    """

    train: Callable[[Record], None]
    open_workforce: OpenWorkforce
    device: str


def in_this_process(root: Path, device: str | None, tell: Tell) -> Workplace:
    """One cell after another, and one evaluator.

    Args:
        root: of the reproduction.
        device: null takes the GPU if there is one.
        tell: told what happens in training.
    """

    def opened(settings: EvaluationSettings, questions: int) -> AbstractContextManager[Workforce]:
        return one_here(settings, str(root / "store"), device)

    return Workplace(lambda record: train_here(record, device, tell), opened, _in_words(device))


def _in_words(device: str | None) -> str:
    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread" + ("s" if threads > 1 else "")
