"""Running a Ray Train trainer beside its caller, and what it does when workers are lost.

There is one resume mechanism, that of the training itself, so Ray Train brings no checkpoints: it
starts the workers, and starts them again if one of them or its node is lost.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig

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
            # The first line says what; the rest are Ray's identifiers.
            what = next(iter(str(error).splitlines()), type(error).__name__)
            text = f"the training worker was lost: {what[:300].strip()}"
            self._relay.push.remote([Notice(logging.WARNING, text)])


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
    gpu = resources.device == "gpu"
    return ScalingConfig(
        num_workers=workers,
        use_gpu=gpu,
        resources_per_worker={"CPU": resources.cpus, **({"GPU": 1} if gpu else {})},
    )


def torch_config(resources: WorkerResources) -> ray.train.torch.TorchConfig:
    """How workers talk to each other: nccl between GPUs, gloo between CPUs."""
    backend = "nccl" if resources.device == "gpu" else "gloo"
    return ray.train.torch.TorchConfig(backend=backend)


class BackgroundFit:
    """``trainer.fit()`` in a thread of its own.

    Ray Train blocks its caller and takes over SIGINT in the main thread; so the caller keeps
    signals and display.

    Args:
        trainer: starts at once.
    """

    def __init__(self, trainer: ray.train.torch.TorchTrainer) -> None:
        self._trainer = trainer
        self._result: Any = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait this long, or until it ends."""
        self._thread.join(seconds)

    def result(self) -> Any:
        """What the first worker returned; call it once :attr:`over` is true.

        Raises:
            ray.train.TrainingFailedError: all attempts failed.
        """
        if self._failure is not None:
            raise self._failure
        return self._result

    def _fit(self) -> None:
        try:
            self._result = self._trainer.fit().return_value
        except Exception as error:  # carried to the caller's thread
            self._failure = error
