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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch

from motion_ray.cluster.busy import when_free
from motion_ray.cluster.environment import Device, prepare_worker_environment
from motion_ray.cluster.fitting import (
    fit_in_background,
    run_config,
    scaling_config,
    torch_config,
)
from motion_ray.cluster.outcome import Outcome, follow
from motion_ray.cluster.relay import EventSender, Item, forwarded_warnings, start_relay
from motion_ray.cluster.resources import WorkerResources
from motion_ray.config import CustomizationConfig
from motion_ray.errors import MotionRayError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """What one worker is asked to do; travels to it.

    Attributes:
        config: the whole run.
        out: its folder, absolute.
        store: of deltas; null: inside ``out``.
        cache: of encoded clips, absolute; null: inside ``out``.
        device: what the worker was given.
        relay: handle of the :class:`~motion_ray.cluster.relay.EventRelay`.
    """

    config: CustomizationConfig
    out: str
    store: str | None
    cache: str | None
    device: Device
    relay: Any


def train_in_worker(settings: dict[str, Assignment]) -> Outcome:
    """The train loop of the Ray Train worker: pass the events of ``customize`` on."""
    assignment = settings["assignment"]
    prepare_worker_environment(assignment.device, os.environ)
    sender = EventSender(assignment.relay)
    sender.announce()
    try:
        with forwarded_warnings(sender):
            from motion_ray.customization.loop import customize  # only now: it imports torch

            device = "cuda" if assignment.device == "gpu" else "cpu"
            out, store = Path(assignment.out), assignment.store
            cache = None if assignment.cache is None else Path(assignment.cache)
            return when_free(
                lambda: follow(
                    customize(assignment.config, out, store=store, cache=cache, device=device),
                    sender,
                )
            )
    except MotionRayError as error:
        return Outcome(error=error)
    finally:
        sender.close()


class TrainingJob:
    """A customization running under Ray Train, seen from the driver.

    Args:
        config: the whole run.
        out: its folder; absolute, on storage that every node sees.
        store: of deltas; null: inside ``out``.
        resources: what the worker asks for.
        cache: of encoded clips, absolute; null: inside ``out``.

    Attributes:
        blind: the relay does not answer any more: the cluster is gone, or that process.
    """

    def __init__(
        self,
        config: CustomizationConfig,
        out: Path,
        store: str | None,
        resources: WorkerResources,
        cache: Path | None = None,
    ) -> None:
        self._relay = start_relay()
        encoded = None if cache is None else str(cache)
        assignment = Assignment(config, str(out), store, encoded, resources.device, self._relay)
        trainer = ray.train.torch.TorchTrainer(
            train_in_worker,
            train_loop_config={"assignment": assignment},
            torch_config=torch_config(resources),
            scaling_config=scaling_config(1, resources),
            run_config=run_config(f"customize-{config.identity()[:12]}", out, self._relay),
        )
        self.blind = False
        self._running = fit_in_background(trainer)

    def wait(self, seconds: float) -> Sequence[Item]:
        """Wait this long, or until the run ends, and return what happened meanwhile."""
        self._running.wait(seconds)
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
        return self._running.over

    def request_stop(self) -> None:
        """Ask the worker to end after the step it is in."""
        self._relay.request_stop.remote()

    def outcome(self) -> Outcome:
        """How it ended; call it once :attr:`over` is true.

        Raises:
            ray.train.TrainingFailedError: all attempts failed.
        """
        outcome = self._running.result()
        if not isinstance(outcome, Outcome):
            raise RuntimeError(f"the training worker returned {outcome!r}")
        return outcome
