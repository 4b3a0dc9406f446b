"""A customization in a Ray Train worker: what runs there, and the driver's handle on it.

All durability is in :func:`motion_ray.customization.loop.customize`, which resumes from its output
folder. Ray Train brings no checkpoints of its own: it starts the worker, and starts it again if the
worker or its node is lost. **On a cluster of several machines the output folder has to be on
storage that all of them see**, or a worker on another machine would begin from step 0.

Failures that would come again the same way (:class:`~motion_ray.errors.MotionRayError`: a bad clip,
a loss that is not finite) end the run at once. Everything else (a killed worker, no memory, a lost
node) is tried again, a bounded number of times.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig

from motion_ray.cluster.environment import Device, prepare_worker_environment
from motion_ray.cluster.relay import EventSender, Item, Notice, forwarded_warnings, start_relay
from motion_ray.cluster.resources import WorkerResources
from motion_ray.config import CustomizationConfig
from motion_ray.errors import MotionRayError
from motion_ray.types import RunFinished, StepDone

logger = logging.getLogger(__name__)

MAX_FAILURES = 3  # lost workers
MAX_START_FAILURES = 3  # worker groups that could not be placed or started
MAX_PREEMPTIONS = 20  # announced node losses, as with spot machines
START_SECONDS = 600  # an autoscaler needs minutes to bring a GPU node; Ray's default is 60


@dataclass(frozen=True)
class Assignment:
    """What one worker is asked to do; travels to it.

    Attributes:
        config: the whole run.
        out: its folder, absolute.
        store: of deltas; null: inside ``out``.
        device: what the worker was given.
        relay: handle of the :class:`~motion_ray.cluster.relay.EventRelay`.
    """

    config: CustomizationConfig
    out: str
    store: str | None
    device: Device
    relay: Any


@dataclass(frozen=True)
class Outcome:
    """How a run ended; exactly one field is set.

    Attributes:
        finished: its last event.
        error: a failure that a retry would meet again.
        stopped_at: the last step before a requested stop.
    """

    finished: RunFinished | None = None
    error: MotionRayError | None = None
    stopped_at: int | None = None


def train_in_worker(settings: dict[str, Assignment]) -> Outcome:
    """The train loop of the Ray Train worker: pass the events of ``customize`` on."""
    assignment = settings["assignment"]
    prepare_worker_environment(assignment.device, os.environ)
    sender = EventSender(assignment.relay)
    sender.announce()
    try:
        with forwarded_warnings(sender):
            return _follow(assignment, sender)
    except MotionRayError as error:
        return Outcome(error=error)
    finally:
        sender.close()


def _follow(assignment: Assignment, sender: EventSender) -> Outcome:
    from motion_ray.customization.loop import customize  # only now: it imports torch

    step = 0
    device = "cuda" if assignment.device == "gpu" else "cpu"
    events = customize(
        assignment.config, Path(assignment.out), store=assignment.store, device=device
    )
    for event in events:
        stop = sender.send(event)
        if isinstance(event, RunFinished):
            return Outcome(finished=event)
        if isinstance(event, StepDone):
            step = event.step
        if stop:
            if isinstance(events, Generator):
                events.close()  # it lets go of the folder
            return Outcome(stopped_at=step)
    raise RuntimeError("customize ended without RunFinished")


class _Announce(ray.train.UserCallback):
    """Tells the driver why a worker was lost. Runs in Ray Train's controller."""

    def __init__(self, relay: Any) -> None:
        self._relay = relay

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            # The first line says what; the rest are Ray's identifiers.
            what = next(iter(str(error).splitlines()), type(error).__name__)
            text = f"the training worker was lost: {what[:300].strip()}"
            self._relay.push.remote([Notice(logging.WARNING, text)])


class TrainingJob:
    """A customization running under Ray Train, seen from the driver.

    Ray Train blocks its caller and takes over SIGINT in the main thread, so it gets a thread of its
    own; the caller keeps signals and display.

    Args:
        config: the whole run.
        out: its folder; absolute, on storage that every node sees.
        store: of deltas; null: inside ``out``.
        resources: what the worker asks for.

    Attributes:
        blind: the relay does not answer any more: the cluster is gone, or that process.
    """

    def __init__(
        self, config: CustomizationConfig, out: Path, store: str | None, resources: WorkerResources
    ) -> None:
        self._relay = start_relay()
        assignment = Assignment(config, str(out), store, resources.device, self._relay)
        self._trainer = _trainer(assignment, resources, name=f"customize-{config.identity()[:12]}")
        self._outcome: Outcome | None = None
        self._failure: Exception | None = None
        self.blind = False
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> Sequence[Item]:
        """Wait this long, or until the run ends, and return what happened meanwhile."""
        self._thread.join(seconds)
        if self.blind:
            return []
        try:
            return ray.get(self._relay.drain.remote())
        except ray.exceptions.RayError as error:
            self.blind = True
            logger.warning("progress is no longer shown, training goes on: %s", error)
            return []

    @property
    def over(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return not self._thread.is_alive()

    def request_stop(self) -> None:
        """Ask the worker to end after the step it is in."""
        self._relay.request_stop.remote()

    def outcome(self) -> Outcome:
        """How it ended; call it once :attr:`over` is true.

        Raises:
            ray.train.TrainingFailedError: all attempts failed.
        """
        if self._failure is not None:
            raise self._failure
        if self._outcome is None:
            raise RuntimeError("the run is not over")
        return self._outcome

    def _fit(self) -> None:
        try:
            result = self._trainer.fit()
            if not isinstance(result.return_value, Outcome):
                raise RuntimeError(f"the training worker returned {result.return_value!r}")
            self._outcome = result.return_value
        except Exception as error:  # carried to the caller's thread
            self._failure = error


def _trainer(
    assignment: Assignment, resources: WorkerResources, name: str
) -> ray.train.torch.TorchTrainer:
    gpu = resources.device == "gpu"
    # Read by Ray Train in this process and passed on to its controller.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_SECONDS))
    return ray.train.torch.TorchTrainer(
        train_in_worker,
        train_loop_config={"assignment": assignment},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=gpu,
            resources_per_worker={"CPU": resources.cpus, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            # Nothing of value goes there, but Ray insists on a place that all nodes see.
            storage_path=str(Path(assignment.out) / ".ray"),
            callbacks=[_Announce(assignment.relay)],
            failure_config=FailureConfig(
                max_failures=MAX_FAILURES,
                controller_failure_limit=MAX_START_FAILURES,
                max_preemption_failures=MAX_PREEMPTIONS,
            ),
        ),
    )
