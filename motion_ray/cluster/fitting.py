"""Running a Ray Train trainer beside its caller, and what it does when workers are lost.

There is one resume mechanism, that of the training itself, so Ray Train brings no checkpoints: it
starts the workers, and starts them again if one of them or its node is lost.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import fsspec.core
import pyarrow.fs
import ray.train
import ray.train.torch
from fsspec.implementations.local import LocalFileSystem
from ray.train import FailureConfig, RunConfig, ScalingConfig

from motion_ray.cluster.background import Background
from motion_ray.cluster.first_line import first_line
from motion_ray.cluster.relay import Notice
from motion_ray.cluster.resources import WorkerResources

MAX_FAILURES = 3  # lost workers
MAX_START_FAILURES = 3  # worker groups that could not be placed or started
MAX_PREEMPTIONS = 20  # announced node losses, as with spot machines
START_SECONDS = 600  # an autoscaler needs minutes to bring a GPU node; Ray's default is 60


class AnnounceLosses(ray.train.UserCallback):
    """Tells the driver why a worker was lost. Runs in Ray Train's controller.

    Args:
        relay: handle from :func:`motion_ray.cluster.relay.start_relay`.
    """

    def __init__(self, relay: Any) -> None:
        self._relay = relay

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """See :class:`ray.train.UserCallback`."""
        for error in worker_exceptions.values():
            text = f"the training worker was lost: {first_line(error)}"
            self._relay.push.remote([Notice(logging.WARNING, text)])


def ray_storage(folder: str) -> dict[str, Any]:
    """Where Ray may write, as its ``RunConfig`` wants it said.

    Addresses go through fsspec, as everything else of a sweep does, so that there is one set of
    credentials; Ray by itself would ask pyarrow.

    Args:
        folder: a local path or an fsspec URI.
    """
    if "://" not in folder:
        return {"storage_path": folder}
    filesystem, root = fsspec.core.url_to_fs(folder)
    if isinstance(filesystem, LocalFileSystem):
        return {"storage_path": root}
    handler = pyarrow.fs.FSSpecHandler(filesystem)
    return {"storage_path": root, "storage_filesystem": pyarrow.fs.PyFileSystem(handler)}


def run_config(name: str, folder: Path, relay: Any) -> RunConfig:
    """A bounded number of new attempts for what a retry can mend.

    Args:
        name: of the run, for Ray.
        folder: of the training, on storage that all nodes see. Ray insists on such a place, though
            nothing of value goes there.
        relay: gets the reasons of losses.
    """
    # Read by Ray Train in this process and passed on to its controller.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_SECONDS))
    return RunConfig(
        name=name,
        storage_path=str(folder / ".ray"),
        callbacks=[AnnounceLosses(relay)],
        failure_config=FailureConfig(
            max_failures=MAX_FAILURES,
            controller_failure_limit=MAX_START_FAILURES,
            max_preemption_failures=MAX_PREEMPTIONS,
        ),
    )


def scaling_config(workers: int, resources: WorkerResources) -> ScalingConfig:
    """So many workers with these resources each."""
    return ScalingConfig(
        num_workers=workers,
        use_gpu=resources.device == "gpu",
        resources_per_worker=resources.as_ray(),
    )


def torch_config(resources: WorkerResources) -> ray.train.torch.TorchConfig:
    """How workers talk to each other: nccl between GPUs, gloo between CPUs."""
    backend = "nccl" if resources.device == "gpu" else "gloo"
    return ray.train.torch.TorchConfig(backend=backend)


def fit_in_background(trainer: ray.train.torch.TorchTrainer) -> Background:
    """``trainer.fit()`` in a thread of its own; the result is what the first worker returned.

    Ray Train blocks its caller, and in the main thread it takes over SIGINT.
    """
    return Background(lambda: trainer.fit().return_value, "ray-train")
