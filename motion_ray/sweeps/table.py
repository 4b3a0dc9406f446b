"""All of a sweep on one screen: a row a trial, totals, and when it will be over.

Only values; ``jobs/`` draws them, and machines read them as JSON lines.
"""

from __future__ import annotations

import heapq
import json
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial

#: Rows are shown in this order: what happens now, what went wrong, what comes, what is done.
ORDER = (
    TrialState.RUNNING,
    TrialState.FAILED,
    TrialState.WAITING,
    TrialState.STOPPED_BY_POLICY,
    TrialState.FINISHED,
)


@dataclass(frozen=True)
class Pulse:
    """What a running trial said last.

    Attributes:
        step: optimizer steps taken.
        loss: smoothed, on D^m.
        appearance: of the last validation.
        floor: in the same units.
        seconds_per_step: validations included.
    """

    step: int
    loss: float | None = None
    appearance: float | None = None
    floor: float | None = None
    seconds_per_step: float | None = None


@dataclass(frozen=True)
class Row:
    """A trial.

    Attributes:
        trial: short identity.
        motion: name.
        settings: in one line.
        state: where it stands.
        step: optimizer steps known.
        max_steps: at which it would end.
        loss, appearance, floor: see :class:`Pulse`.
        where: machine and GPU or slot.
        attempts: started so far.
        seconds_left: to its last step at the pace so far; a floor may end it earlier.
        reason: why it is not running or finished.
    """

    trial: str
    motion: str
    settings: str
    state: TrialState
    step: int
    max_steps: int
    loss: float | None
    appearance: float | None
    floor: float | None
    where: str
    attempts: int
    seconds_left: float | None
    reason: str


@dataclass(frozen=True)
class Totals:
    """The sweep.

    Attributes:
        states: how many trials stand where; states without trials are left out.
        attempts: started so far, of all trials.
        trial_seconds: time of attempts that have ended.
        seconds_left: until the last trial is over at the pace so far; null if no pace is known.
    """

    states: Mapping[str, int]
    attempts: int
    trial_seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class SweepTable:
    """Rows in the order of :data:`ORDER`, and totals."""

    rows: tuple[Row, ...]
    totals: Totals


def make_table(
    trials: Mapping[str, Trial],
    statuses: Mapping[str, TrialStatus],
    pulses: Mapping[str, Pulse],
    slots: int,
    unasked: int = 0,
) -> SweepTable:
    """Build the table.

    Args:
        trials: by identity, in the order in which they start.
        statuses: of the same trials.
        pulses: of those that run, or ran last, as far as they are known.
        slots: trials that can run at once.
        unasked: trials that a searcher has still to think of; time is reckoned for them.
    """
    pace = _pace(trials, statuses, pulses)
    rows = [_row(trials[key], status, pulses.get(key), pace) for key, status in statuses.items()]
    place = {state: number for number, state in enumerate(ORDER)}
    totals = Totals(
        states={str(state): n for state, n in Counter(row.state for row in rows).items()},
        attempts=sum(status.attempts for status in statuses.values()),
        trial_seconds=sum(status.seconds for status in statuses.values()),
        seconds_left=_time_left(rows, slots, pace, unasked),
    )
    return SweepTable(tuple(sorted(rows, key=lambda row: place[row.state])), totals)


def json_lines(table: SweepTable, before: SweepTable | None = None) -> list[str]:
    """For machines: a line for every row that is new or has changed, and one for the totals.

    Args:
        table: now.
        before: what was told last; null tells everything.
    """
    known = set() if before is None else set(before.rows)
    lines = [{"event": "trial", **asdict(row)} for row in table.rows if row not in known]
    if before is None or table.totals != before.totals:
        lines.append({"event": "sweep", **asdict(table.totals)})
    return [json.dumps(line) for line in lines]


def _row(trial: Trial, status: TrialStatus, pulse: Pulse | None, pace: float | None) -> Row:
    alive = status.state is TrialState.RUNNING
    step = max(status.step or 0, pulse.step if pulse is not None else 0)
    own = pulse.seconds_per_step if pulse is not None and pulse.seconds_per_step else pace
    left = (trial.config.max_steps - step) * own if own is not None else None
    return Row(
        trial=trial.short,
        motion=trial.motion,
        settings=trial.label,
        state=status.state,
        step=step,
        max_steps=trial.config.max_steps,
        loss=pulse.loss if pulse is not None else None,
        appearance=pulse.appearance if pulse is not None else None,
        floor=pulse.floor if pulse is not None else None,
        where=status.where if alive else "",
        attempts=status.attempts,
        seconds_left=None if status.state.over else left,
        reason=status.reason,
    )


def _pace(
    trials: Mapping[str, Trial],
    statuses: Mapping[str, TrialStatus],
    pulses: Mapping[str, Pulse],
) -> float | None:
    """Seconds a step that a trial takes of which nothing is known yet: the median of the others.

    Without those of which a part was trained unseen: their steps are known and their time is not.
    """
    ended = [
        status.seconds / status.step
        for identity, status in statuses.items()
        if identity in trials
        and status.state is TrialState.FINISHED
        and status.timed
        and status.step
    ]
    running = [pulse.seconds_per_step for pulse in pulses.values() if pulse.seconds_per_step]
    known = [pace for pace in ended if pace > 0] or running
    return statistics.median(known) if known else None


def _time_left(rows: list[Row], slots: int, pace: float | None, unasked: int) -> float | None:
    """When the last trial ends if each goes to the first slot that becomes free."""
    if all(row.state.over for row in rows) and not unasked:
        return 0.0
    if pace is None or slots < 1:
        return None
    free = [row.seconds_left or 0.0 for row in rows if row.state is TrialState.RUNNING]
    free += [0.0] * (slots - len(free))
    heapq.heapify(free)
    for row in rows:
        if row.state is TrialState.WAITING:
            heapq.heapreplace(free, free[0] + (row.seconds_left or 0.0))
    for _ in range(unasked):
        heapq.heapreplace(free, free[0] + pace * max(row.max_steps for row in rows))
    return max(free)
