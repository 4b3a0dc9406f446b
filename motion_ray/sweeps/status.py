"""What may happen to a trial, and what the events so far add up to.

A trial's history is a numbered list of events. Its status is computed from that list alone, so
everybody who reads the same list comes to the same status.

waiting -> running -> finished | stopped_by_policy | failed; an interrupted trial waits again, and a
failed or stopped one can be reopened by a person.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EventKind = Literal["started", "finished", "stopped_by_policy", "failed", "interrupted", "reopened"]


class TrialState(enum.StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED_BY_POLICY = "stopped_by_policy"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether nothing more happens unless a person asks for it."""
        return self not in (TrialState.WAITING, TrialState.RUNNING)


class Event(BaseModel):
    """One line in the history of a trial.

    Attributes:
        trial: its identity.
        number: 1, 2, ... without gap.
        kind: what happened.
        at: when, seconds since 1970 by the writer's clock.
        attempt: the attempt it belongs to; 1, 2, ...
        where: machine, and process or GPU, of the attempt.
        seconds: how long the attempt lasted; null when its end was not seen.
        step: last optimizer step that is known.
        reason: in words.
        error: of a failure, the class of what was raised; empty after lost attempts.
        spared: the interruption was not the trial's or its node's fault and counts for no retry.
        result: of a finished run, the fields of :class:`motion_ray.types.RunFinished`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str = Field(pattern=r"^[0-9a-f]{64}$")
    number: int = Field(ge=1)
    kind: EventKind
    at: float
    attempt: int = Field(ge=0)
    where: str = ""
    seconds: float | None = None
    step: int | None = None
    reason: str = ""
    error: str = ""
    spared: bool = False
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class TrialStatus:
    """What the history of a trial says.

    Attributes:
        state: where it stands.
        events: how many there were.
        attempts: how many were started.
        lost: attempts that ended by an interruption which counts, since the trial was last opened.
        where: of the last attempt.
        started: when the last attempt started, seconds since 1970.
        ended: when the last attempt ended.
        seconds: all attempts together, as far as their ends were seen.
        timed: whether the ends of all were.
        step: last step known.
        reason: why it is not running or finished.
        error: of a failed trial, the class of what was raised; empty after lost attempts.
        result: of a finished run.
    """

    state: TrialState = TrialState.WAITING
    events: int = 0
    attempts: int = 0
    lost: int = 0
    where: str = ""
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    timed: bool = True
    step: int | None = None
    reason: str = ""
    error: str = ""
    result: dict[str, Any] | None = None

    def after(self, event: Event) -> TrialStatus:
        """The status one event later.

        Raises:
            ValueError: the event cannot follow (:meth:`allows`), or its number is not the next.
        """
        if event.number != self.events + 1 or not self.allows(event.kind, event.attempt):
            here = f"{self.state} after {self.events} events, attempt {self.attempts}"
            raise ValueError(f"event {event.number} ({event.kind}) cannot follow: {here}")
        common = replace(
            self,
            events=event.number,
            step=self.step if event.step is None else event.step,
            reason=event.reason,
            error=event.error,
        )
        if event.kind == "started":
            return replace(
                common,
                state=TrialState.RUNNING,
                attempts=event.attempt,
                where=event.where,
                started=event.at,
                ended=None,
            )
        if event.kind == "reopened":
            return replace(common, state=TrialState.WAITING, lost=0)
        state = TrialState.WAITING if event.kind == "interrupted" else TrialState(event.kind)
        return replace(
            common,
            state=state,
            ended=event.at,
            seconds=self.seconds + (event.seconds or 0.0),
            timed=self.timed and event.seconds is not None,
            lost=self.lost + (event.kind == "interrupted" and not event.spared),
            result=event.result,
        )

    def allows(self, kind: EventKind, attempt: int) -> bool:
        """Whether an event may come next.

        A finished run is a fact whichever attempt tells of it, also one that was given up for lost;
        every other end belongs to the attempt that is running.
        """
        if kind == "started":
            return self.state is TrialState.WAITING and attempt == self.attempts + 1
        if kind == "reopened":
            return self.state in (TrialState.FAILED, TrialState.STOPPED_BY_POLICY)
        if kind == "finished":
            return self.state is not TrialState.FINISHED and 1 <= attempt <= self.attempts
        return self.state is TrialState.RUNNING and attempt == self.attempts
