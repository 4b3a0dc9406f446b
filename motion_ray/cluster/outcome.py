"""How a customization in a worker ended, and the loop there that finds out."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from motion_ray.cluster.relay import EventSender
from motion_ray.errors import MotionRayError
from motion_ray.types import RunFinished, StepDone, TrainEvent


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


def follow(events: Iterator[TrainEvent], sender: EventSender) -> Outcome:
    """Pass the events of ``customize`` on until it ends or a stop is asked for.

    Raises:
        MotionRayError: whatever ``customize`` raises.
        RuntimeError: the events ended without a result.
    """
    step = 0
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
