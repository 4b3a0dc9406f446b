"""Training what is missing, cell by cell, in this process; a killed cell goes on where it was."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable

from motion_ray.customization.loop import customize
from motion_ray.customization.models import KeptModels, ModelSource
from motion_ray.reproduction.record import RESULTS, Record
from motion_ray.sweeps.status import TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished, StepDone, TrainEvent

log = logging.getLogger(__name__)
Tell = Callable[[str, TrainEvent | TrialStatus], None]
"""Told what happens to a trial, by its identity: events of its run, and its new standing."""


def train_here(record: Record, device: str | None, tell: Tell) -> None:
    """Train every cell that waits, one after another.

    Args:
        record: of the cells.
        device: null takes the GPU if there is one.
        tell: told everything that happens.

    Raises:
        MotionRayError: a full disk, damaged clips, a folder of another run: what ends more than
            one cell. The record says that the cell waits.
    """
    models = KeptModels().source()
    for trial in record.waiting():
        where = f"{socket.gethostname()} ({os.getpid()})"
        attempt = record.ledger.start(trial.identity, where)
        assert attempt is not None  # whoever holds the folder is alone
        tell(trial.identity, record.ledger.status(trial.identity))
        _train(record, trial, attempt, models, device, tell)
        tell(trial.identity, record.ledger.status(trial.identity))


def _train(
    record: Record,
    trial: Trial,
    attempt: int,
    models: ModelSource,
    device: str | None,
    tell: Tell,
) -> None:
    """One attempt, whose end is on record whatever it is but a kill."""
    begun, step, ledger, over = time.monotonic(), 0, record.ledger, False
    events = customize(
        trial.config,
        record.run(trial).root,
        store=str(record.store),
        cache=record.cache,
        device=device,
        models=models,
    )
    try:
        for event in events:
            tell(trial.identity, event)
            step = event.step if isinstance(event, StepDone) else step
            if isinstance(event, RunFinished):
                ledger.finish(trial.identity, attempt, event, time.monotonic() - begun)
                over = True
    except RESULTS as error:
        # The result of this method; the others' are still to come.
        log.warning("%s cannot be trained: %s", trial.motion, error)
        reason, seconds = " ".join(str(error).split()), time.monotonic() - begun
        ledger.fail(trial.identity, attempt, reason, seconds, type(error).__name__)
        over = True
    finally:
        if not over:
            reason, seconds = "the reproduction was stopped", time.monotonic() - begun
            identity = trial.identity
            ledger.interrupt(identity, attempt, reason, retries=None, seconds=seconds, step=step)
