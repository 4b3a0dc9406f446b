"""What a run's events add up to: position, smoothed losses, speed, time left.

Only values and text; how they are drawn is up to the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from motion_ray.cluster.relay import Attempt, Item, Notice
from motion_ray.sweeps.table import Pulse
from motion_ray.types import (
    Checkpointed,
    Preparing,
    RunFinished,
    RunStarted,
    StepDone,
    Validated,
)

SMOOTHING = 0.98  # of the loss: about the last fifty steps of a set
SPEED_SMOOTHING = 0.9


@dataclass
class Progress:
    """The state of a run, folded from its events.

    Attributes:
        clock: seconds, monotonic.
        stage: what happens now.
        done, total: of the stage, or of the training steps.
        step, max_steps: optimizer steps.
        losses: smoothed loss of each set.
        appearance, floor: of the last validation.
        seconds_per_step: smoothed, of training alone.
        checkpoint: step of the last durable checkpoint.
        resumed_at: the step a resumed run continued from.
        attempts: workers started.
        finished: the last event, once there.
    """

    clock: Callable[[], float] = time.monotonic
    stage: str = "waiting for a worker"
    done: int = 0
    total: int = 0
    step: int = 0
    max_steps: int = 0
    device: str = ""
    losses: dict[str, float] = field(default_factory=dict)
    appearance: float | None = None
    floor: float | None = None
    seconds_per_step: float | None = None
    checkpoint: int | None = None
    resumed_at: int | None = None
    attempts: int = 0
    training: bool = False
    finished: RunFinished | None = None
    _pace_since: tuple[float, int] | None = None  # time and step this attempt's pace is taken from
    _pace: float | None = None  # seconds per step up to the last one, validations included
    _weights: dict[str, float] = field(default_factory=dict)

    def pulse(self) -> Pulse:
        """The same as a row of a table of trials shows it."""
        loss = self.losses.get("motion")
        return Pulse(self.step, loss, self.appearance, self.floor, self._pace)

    def update(self, item: Item) -> None:
        """Take one item in."""
        match item:
            case Attempt(number=number):
                self.attempts = number
                self.training = False
                self._stage("starting the worker", 0, 0)
            case Preparing(stage=stage, done=done, total=total):
                self.training = False
                self._stage(stage, done, total)
            case RunStarted():
                self._start(item)
            case StepDone():
                self._step(item)
            case Validated(appearance=appearance, floor=floor):
                self.appearance, self.floor = appearance, floor
            case Checkpointed(step=step):
                self.checkpoint = step
            case RunFinished():
                self.finished, self.training = item, False
                self._stage("finished", 1, 1)
            case Notice():
                pass

    def _stage(self, stage: str, done: int, total: int) -> None:
        self.stage, self.done, self.total = stage, done, total

    def _start(self, event: RunStarted) -> None:
        self.step, self.max_steps, self.device = event.step, event.max_steps, event.device
        self.training = True
        self._stage("training", event.step, event.max_steps)
        self._pace_since = None
        if event.resumed:
            self.resumed_at = self.checkpoint = event.step

    def _step(self, event: StepDone) -> None:
        self.step = event.step
        self._stage("training", event.step, self.max_steps)
        if self._pace_since is None:
            # From the first step on: what comes before it comes once.
            self._pace_since = (self.clock() - event.seconds, event.step - 1)
        since, first = self._pace_since
        self._pace = (self.clock() - since) / (event.step - first)
        for name, loss in event.losses.items():
            # An average of what has been seen so far, until there is enough for a moving one.
            weight = SMOOTHING * self._weights.get(name, 0.0)
            old = self.losses.get(name, 0.0)
            self.losses[name] = (weight * old + loss) / (weight + 1)
            self._weights[name] = weight + 1
        old_speed = self.seconds_per_step
        self.seconds_per_step = (
            event.seconds
            if old_speed is None
            else SPEED_SMOOTHING * old_speed + (1 - SPEED_SMOOTHING) * event.seconds
        )

    def seconds_left(self) -> float | None:
        """Time to the last step at the pace so far, validations included.

        A floor may end the run earlier.
        """
        if not self.training or self._pace_since is None:
            return None
        since, first = self._pace_since
        taken = self.step - first
        return (self.clock() - since) / taken * (self.max_steps - self.step)

    def line(self) -> str:
        """One line for a log."""
        if not self.training:
            count = f" {self.done}/{self.total}" if self.total > 1 else ""
            return f"{self.stage}{count}"
        parts = [f"step {self.step}/{self.max_steps}"]
        if self.losses:
            parts.append(
                "loss " + ", ".join(f"{k} {v:.4f}" for k, v in sorted(self.losses.items()))
            )
        if self.appearance is not None and self.floor is not None:
            parts.append(f"appearance {self.appearance:.4f} (floor {self.floor:.4f})")
        if self.seconds_per_step is not None:
            parts.append(f"{self.seconds_per_step:.2f} s/step")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"at most {format_seconds(left)} left")
        if self.checkpoint is not None:
            parts.append(f"checkpoint {self.checkpoint}")
        return " | ".join(parts)


def news(item: Item) -> str | None:
    """The line an item deserves of its own in a log; null for the everyday ones."""
    match item:
        case Attempt(number=1, host=host, pid=pid):
            return f"worker started on {host} (process {pid})"
        case Attempt(number=number, host=host, pid=pid):
            return f"worker started again on {host} (process {pid}, attempt {number})"
        case Notice(text=text):
            return text
        case RunStarted():
            return _beginning(item)
        case Validated(step=step, appearance=appearance, floor=floor, passed=passed):
            verdict = "above" if passed else "below"
            score = f"appearance {appearance:.4f}, {verdict} the floor {floor:.4f}"
            return f"validation at step {step}: {score}"
        case _:
            return None


def _beginning(event: RunStarted) -> str:
    verb = f"resumed at step {event.step}" if event.resumed else "training"
    return (
        f"{verb}: {event.trainable_parameters / 1e6:.2f} M parameters "
        f"in {event.trainable_tensors} tensors, "
        f"{event.motion_clips} motion and {event.regularization_clips} regularization clips, "
        f"at most {event.max_steps} steps, {event.device}"
    )


def format_seconds(seconds: float) -> str:
    """``4:05`` or ``1:02:03``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
