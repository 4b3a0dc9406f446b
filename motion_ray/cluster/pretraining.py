"""A stage of pretraining in several Ray Train workers that share every batch.

What they do is :func:`motion_ray.pretraining.stage.run_stage`, which resumes by itself from the
workspace. **On a cluster of several machines the workspace has to be on storage that all of them
see.** A failure that would come again the same way ends the run at once; a lost worker takes its
group with it, and the group is started again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch

from motion_ray.cluster.busy import when_free
from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.first_line import first_line
from motion_ray.cluster.fitting import (
    fit_in_background,
    run_config,
    scaling_config,
    torch_config,
)
from motion_ray.cluster.relay import (
    Attempt,
    EventSender,
    Failure,
    Notice,
    forwarded_warnings,
    start_relay,
)
from motion_ray.cluster.resources import WorkerResources, count_workers
from motion_ray.errors import ConfigError, MotionRayError
from motion_ray.pretraining.loop import TrainingProgress
from motion_ray.pretraining.workspace import Workspace

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5
GRACE_SECONDS = 20.0  # for workers that end by themselves, before they are ended


@dataclass(frozen=True)
class StageAssignment:
    """What every worker is asked to do; travels to it.

    Attributes:
        stage: name of the stage.
        settings: of its kind.
        workspace: its root is absolute; device and replicas are filled in by the worker.
        resources: what the worker was given.
        relay: handle of the :class:`~motion_ray.cluster.relay.EventRelay`.
    """

    stage: str
    settings: Any
    workspace: Workspace
    resources: WorkerResources
    relay: Any


def work_on_stage(loop_config: dict[str, StageAssignment]) -> None:
    """The train loop of each worker; the first one reports."""
    assignment = loop_config["assignment"]
    prepare_worker_environment(assignment.resources.device, os.environ)
    import torch  # only now: it reads the environment

    from motion_ray.pretraining.parallel import current_replicas
    from motion_ray.pretraining.stage import run_stage
    from motion_ray.pretraining.stages import STAGES

    torch.set_num_threads(assignment.resources.threads)
    replicas = current_replicas()
    workspace = replace(
        assignment.workspace, replicas=replicas, device=ray.train.torch.get_device(), processes=1
    )
    sender = EventSender(assignment.relay)

    def work() -> None:
        for progress in run_stage(STAGES[assignment.stage], assignment.settings, workspace):
            if replicas.first:
                sender.send(progress)

    if replicas.first:
        sender.announce()
    try:
        with forwarded_warnings(sender):
            when_free(work)  # only the first asks for the folder, before all go on together
    except MotionRayError as error:
        # Not raised: Ray would only try again. If the others did not meet it as well, they wait for
        # this worker, until the driver ends them all.
        sender.send(Failure(error))
    finally:
        sender.close()


def run_stage_in_workers(
    stage: str, settings: Any, workspace: Workspace, workers: int, resources: WorkerResources
) -> Iterator[TrainingProgress]:
    """Run a stage on the connected cluster; yields what the first worker reports.

    To stop, leave the cluster: workers end with the connection, and the same call goes on from the
    last checkpoint.

    Args:
        stage: name of the stage.
        settings: of its kind.
        workspace: its root absolute, on storage that every node sees.
        workers: how many.
        resources: of each.

    Raises:
        MotionRayError: a failure that a retry would meet again, or all attempts failed.
    """
    relay = start_relay()
    assignment = StageAssignment(stage, settings, workspace, resources, relay)
    trainer = ray.train.torch.TorchTrainer(
        work_on_stage,
        train_loop_config={"assignment": assignment},
        torch_config=torch_config(resources),
        scaling_config=scaling_config(workers, resources),
        run_config=run_config(f"pretrain-{stage}", workspace.folder(stage), relay),
    )
    running = fit_in_background(trainer)
    try:
        over = False
        while not over:
            running.wait(REFRESH_SECONDS)
            over = running.over  # before the relay is emptied for the last time
            for item in ray.get(relay.drain.remote()):
                match item:
                    case TrainingProgress():
                        yield item
                    case Failure(error=error):
                        running.wait(GRACE_SECONDS)
                        raise error
                    case Notice(level=level, text=text):
                        logger.log(level, "%s", text)
                    case Attempt(number=number, host=host):
                        logger.info("workers started on %s, attempt %d", host, number)
        running.result()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise MotionRayError(
            f"--workers {workers}",
            f"training failed, also when tried again: {first_line(error)}",
            "run the same command to go on from the last checkpoint",
        ) from error


def check_room(
    nodes: Sequence[Mapping[str, Any]], workers: int, resources: WorkerResources
) -> None:
    """Refuse workers that a cluster cannot hold: Ray would wait for new nodes.

    Args:
        nodes: what ``ray.nodes()`` returns.
        workers: how many.
        resources: of each.

    Raises:
        ConfigError: they do not fit.
    """
    room = count_workers(nodes, resources)
    if room < workers:
        raise ConfigError(
            f"--workers {workers}",
            f"this machine holds {room} workers with {resources} each",
            "ask for fewer, for fewer --threads, or join a larger cluster with --address",
        )
