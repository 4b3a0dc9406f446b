"""Slots of a sweep: one-worker Ray Train trainers that run one trial after another.

A trial's own work may take seconds, and what comes before it in a new process took 17 to 36 s on
two cores: starting Python, importing, making a process group, reading and checking the base model.
So a worker stays for the whole sweep and that is paid once a slot. A lost worker is started again
by Ray Train, on another node if its own is gone.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig

from motion_ray.cluster.background import Background
from motion_ray.cluster.busy import when_free
from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.first_line import first_line
from motion_ray.cluster.fitting import (
    MAX_PREEMPTIONS,
    MAX_START_FAILURES,
    START_SECONDS,
    fit_in_background,
    ray_storage,
    scaling_config,
    torch_config,
)
from motion_ray.cluster.outcome import Outcome, follow
from motion_ray.cluster.relay import EventSender, Item, forwarded_warnings
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.scoring import RemoteScorer
from motion_ray.errors import (
    CheckpointError,
    FolderBusyError,
    GpuMemoryError,
    MirrorError,
    MotionRayError,
    RunFolderError,
)
from motion_ray.sweeps.mirror import RunMirror
from motion_ray.sweeps.mirrored import mirrored

if TYPE_CHECKING:
    from motion_ray.cluster.desk import Order, Rest
    from motion_ray.customization.models import KeptModels
    from motion_ray.types import TrainEvent

LOOK_SECONDS = 0.2  # between two questions for work
MAX_SLOT_FAILURES = 50  # lost workers of one slot; how often a trial is tried, the desk decides


@dataclass(frozen=True)
class Station:
    """What the worker of a slot needs to know; travels to it.

    Attributes:
        slot: its name.
        desk: handle of the :class:`~motion_ray.cluster.desk.SweepDesk`.
        resources: what the worker was given.
        cache: folder of encoded clips and texts, shared by all.
        scorer: handle of a :class:`~motion_ray.cluster.scoring.ScoringActor`; null: trials score
            themselves.
    """

    slot: str
    desk: Any
    resources: WorkerResources
    cache: str
    scorer: Any = None


class TrialSender(EventSender):
    """Sends the events of one trial to the desk."""

    def __init__(self, station: Station, identity: str) -> None:
        super().__init__(station.desk)
        self._slot, self._identity = station.slot, identity

    def _post(self, relay: Any, items: list[Item]) -> Any:
        return relay.push.remote(self._slot, self._identity, items)


def serve_slot(loop_config: dict[str, Station]) -> None:
    """The train loop of a slot's worker: trial after trial, until the desk lets it go."""
    station = loop_config["station"]
    prepare_worker_environment(station.resources.device, os.environ)
    desk = station.desk
    node = ray.get_runtime_context().get_node_id()
    ray.get(desk.enter.remote(station.slot, socket.gethostname(), os.getpid(), node))
    # Imported before there is a trial: that time would be the trial's.
    import motion_ray.customization.loop  # noqa: F401
    from motion_ray.customization.deepspeed_setup import preload
    from motion_ray.customization.models import KeptModels

    preload()
    models = KeptModels()
    while True:
        order: Order | Rest = ray.get(desk.take.remote(station.slot))
        match order:
            case "leave":
                return
            case "wait":
                time.sleep(LOOK_SECONDS)
            case _:
                outcome = run_trial(station, order, models)
                done = (order.identity, order.attempt, outcome)
                ray.get(desk.conclude.remote(station.slot, *done))


def run_trial(station: Station, order: Order, models: KeptModels) -> Outcome:
    """Run one trial in this process.

    What is not a :class:`~motion_ray.errors.MotionRayError` leaves this function and ends the
    process: nobody knows what is left in it. So does a GPU without room: others may have used it.
    """
    import torch

    torch.set_num_threads(station.resources.threads)  # the trial before may have set its own
    sender = TrialSender(station, order.identity)
    try:
        with forwarded_warnings(sender):
            return _customize(station, order, models, sender)
    except MotionRayError as error:
        kind, arguments = error.__reduce__()
        return Outcome(error=kind(*arguments))  # without the frames, which hold the whole model
    finally:
        sender.close()
        gc.collect()  # engines hold themselves in cycles, and the next trial needs the memory
        if station.resources.device == "gpu":
            torch.cuda.empty_cache()


def _customize(station: Station, order: Order, models: KeptModels, sender: EventSender) -> Outcome:
    try:
        return when_free(lambda: follow(_events(station, order, models), sender))
    except GpuMemoryError as error:
        # What to do comes first: of a lost worker's words only the first are kept.
        raise RuntimeError(f"the GPU has no room for it; {error.fix}; {error.rule}") from error
    except FolderBusyError as error:
        # Not the trial's fault: have it tried again elsewhere.
        raise RuntimeError(f"another process still runs this trial: {error}") from error
    except MirrorError as error:
        # Nor this: storage that fails may be back for the next attempt.
        raise RuntimeError(f"the copy of this trial cannot be used: {error}") from error
    except (CheckpointError, RunFolderError) as error:
        if order.mirror is None:
            raise  # on storage that all machines see, another would fail the same way
        raise RuntimeError(f"this machine's own storage fails: {error}") from error


def _events(station: Station, order: Order, models: KeptModels) -> Iterator[TrainEvent]:
    from motion_ray.customization.loop import customize
    from motion_ray.customization.run import RunFolder

    def run() -> Iterator[TrainEvent]:
        RunFolder(Path(order.out)).adopt(order.config)  # its folder is named by its content
        return customize(
            order.config,
            Path(order.out),
            store=order.store,
            cache=Path(station.cache),
            device="cuda" if station.resources.device == "gpu" else "cpu",
            models=models.source(),
            scorer=None if station.scorer is None else RemoteScorer(station.scorer),
        )

    if order.mirror is None:
        return run()
    return mirrored(run, RunMirror(order.mirror, order.attempt), Path(order.out))


class TellDesk(ray.train.UserCallback):
    """Gives a lost worker's trial back to the desk at once. Runs in Ray Train's controller.

    Without it the trial would wait until this slot has a worker again.

    Args:
        station: of the slot.
    """

    def __init__(self, station: Station) -> None:
        self._desk, self._slot = station.desk, station.slot

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """See :class:`ray.train.UserCallback`."""
        for error in worker_exceptions.values():
            self._desk.lost.remote(self._slot, f"the worker was lost: {first_line(error)}")


def start_slot(station: Station, folder: str) -> Background:
    """Start a slot on the connected cluster; it takes a place as soon as a node has one.

    Args:
        station: what the worker gets to know.
        folder: path or URI; Ray insists on one that all nodes see; nothing of value goes there.
    """
    # Read by Ray Train in this process and passed on to its controller.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_SECONDS))
    trainer = ray.train.torch.TorchTrainer(
        serve_slot,
        train_loop_config={"station": station},
        torch_config=torch_config(station.resources),
        scaling_config=scaling_config(1, station.resources),
        run_config=RunConfig(
            name=station.slot,
            **ray_storage(folder),
            callbacks=[TellDesk(station)],
            failure_config=FailureConfig(
                max_failures=MAX_SLOT_FAILURES,
                controller_failure_limit=MAX_START_FAILURES,
                max_preemption_failures=MAX_PREEMPTIONS,
            ),
        ),
    )
    return fit_in_background(trainer)
