"""What a sweep tells while it runs: lines for what happens, and all trials in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Self

from motion_ray.cluster.desk import News
from motion_ray.cluster.progress import Progress, format_seconds
from motion_ray.cluster.relay import Attempt, Notice
from motion_ray.cluster.sweep import SweepJob
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial

LINE_SECONDS = 10.0


class SweepView:
    """Lines on standard output.

    Args:
        trials: all of the sweep.
        statuses: where they stand at the beginning.
    """

    def __init__(self, trials: Sequence[Trial], statuses: Mapping[str, TrialStatus]) -> None:
        self._trials = {trial.identity: trial for trial in trials}
        self._statuses = dict(statuses)
        self._progress: dict[str, Progress] = {}
        self._told, self._begun = 0.0, time.monotonic()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End; whatever is on the screen stays."""

    def show(self, news: Sequence[News]) -> None:
        """Called a few times a second with what is new."""
        for each in news:
            self._take(each)
        if time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            print(self.line(), flush=True)

    def line(self) -> str:
        """All trials in one line."""
        counts = Counter(status.state for status in self._statuses.values())
        parts = [
            f"{counts[state]} {state.replace('_', ' ')}" for state in TrialState if counts[state]
        ]
        return " | ".join(parts)

    def summary(self, job: SweepJob) -> None:
        """How well the slots were used; printed at the end."""
        starts = job.starts()
        warm = [start.waited + start.prepared for start in starts if not start.first]
        print(f"slots idle {100 * job.idle_share():.0f} % of the time", end="")
        if warm:
            print(f"; from a free slot to a first step: median {median(warm):.1f} s", end="")
        print(f"; {format_seconds(time.monotonic() - self._begun)} in all", flush=True)

    def _take(self, news: News) -> None:
        match news.item:
            case TrialStatus():
                self._statuses[news.identity] = news.item
                print(self._standing(news.identity, news.item, news.slot), flush=True)
            case Attempt(number=number, host=host, pid=pid):
                again = "" if number == 1 else f" again, number {number}"
                print(f"{news.slot}: worker started{again} on {host} (process {pid})", flush=True)
            case Notice(text=text):
                print(f"{self._name(news.identity)}: {text}", flush=True)
            case item:
                self._progress.setdefault(news.identity, Progress()).update(item)

    def _standing(self, identity: str, status: TrialStatus, slot: str) -> str:
        what = f"{self._name(identity)}: {status.state.replace('_', ' ')}"
        if status.state is TrialState.RUNNING:
            return f"{what} in {slot}, attempt {status.attempts}"
        if status.state is TrialState.FINISHED and status.result is not None:
            return f"{what} at step {status.step}, {status.result['reason'].replace('_', ' ')}"
        return f"{what}: {status.reason}" if status.reason else what

    def _name(self, identity: str) -> str:
        trial = self._trials[identity]
        return f"{trial.motion} {trial.short} ({trial.label})"
