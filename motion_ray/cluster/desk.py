"""Where the slots of a sweep fetch trials and hand in results, and where each is written down.

One process keeps the desk, on the node of the submitting script. It gives a trial out only once the
ledger says that this attempt has started, and a slot is rid of a trial only once the ledger has its
end. So a slot, a node, a trial's driver or the script may die at any moment: what is finished is on
record, and what is not waits again. Plain Python; Ray makes an actor of it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from motion_ray.cluster.glance import Glance
from motion_ray.cluster.outcome import Outcome
from motion_ray.cluster.progress import Progress
from motion_ray.cluster.relay import CAPACITY, EVERYDAY, Attempt, Item
from motion_ray.cluster.runs import Runs
from motion_ray.cluster.slot_times import SlotTimes, Start
from motion_ray.cluster.stall import Stall
from motion_ray.config import CustomizationConfig
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import Checkpointed, RunStarted, StepDone

Rest = Literal["wait", "leave"]  # what a slot does instead of a trial
KILL_SECONDS = 60.0  # from the kill of a process to the news of it


@dataclass(frozen=True)
class Order:
    """A trial for a slot.

    Attributes:
        identity: of the trial.
        attempt: number of the attempt that this is.
        config: the whole run.
        out: its run folder.
        store: path or URI that it publishes into; null: the one in its folder.
        mirror: path or URI of the copy of its folder; null: there is none.
    """

    identity: str
    attempt: int
    config: CustomizationConfig
    out: str
    store: str | None = None
    mirror: str | None = None


@dataclass(frozen=True)
class News:
    """Something about a trial, for whoever watches.

    Attributes:
        identity: of the trial; empty: about a slot without one.
        slot: where it happens.
        item: an event of the run, its new standing in the ledger, or the trial itself if a
            searcher has just thought of it.
    """

    identity: str
    slot: str
    item: Item | TrialStatus | Trial


@dataclass
class _Held:
    """A trial in a slot."""

    identity: str
    attempt: int
    since: float
    heard: float  # when it last showed progress
    progress: Progress = field(default_factory=Progress)
    stalled: float | None = None  # since when it counts as hanging
    stop: str | None = None  # why it is to end early
    saved: bool = False  # a checkpoint since this attempt began training


class SweepDesk:
    """Gives trials to slots and keeps the record.

    Args:
        ledger: its folder; all trials are in it.
        runs: folder of the run folders; without mirrors on storage that every node sees.
        slots: how many slots there are meant to be.
        retries: new attempts of a trial that are lost before they save anything new.
        clock: seconds, monotonic.
        store: path or URI that all trials publish into; null: each into one of its own.
        by_name: whether trials run in folders of their motions' names alone; only where each trial
            has a motion of its own.
        stall_seconds: without a sign of progress after which a trial hangs.
        mirror: path or URI of the folder of the run folders' mirrors; null: there are none.
        configs: of trials by identity, with their paths of today; the ledger has those of the day
            on which a trial was asked for.
    """

    def __init__(
        self,
        ledger: str,
        runs: str,
        slots: int,
        retries: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        store: str | None = None,
        by_name: bool = False,
        stall_seconds: float = math.inf,
        mirror: str | None = None,
        configs: Mapping[str, CustomizationConfig] | None = None,
    ) -> None:
        self._configs = dict(configs or {})
        self._stall_seconds = stall_seconds
        self._ledger, self._runs, self._retries = Ledger(ledger), Runs(Path(runs), mirror), retries
        self._store, self._by_name = store, by_name
        self._clock, self._times = clock, SlotTimes(slots, clock)
        self._queue: deque[str] = deque()
        self._held: dict[str, _Held] = {}
        self._last: dict[str, Progress] = {}
        self._processes: dict[str, Attempt] = {}
        self._nodes: dict[str, str] = {}
        self._news: list[News] = []
        self._everyday = 0  # how many of them are about a step
        self._closing = False

    # --- for drivers of trials --------------------------------------------------------------------

    def post(self, identity: str) -> None:
        """Have a trial run. Posting it again changes nothing: it may be waiting, running or over.

        Raises:
            LedgerError: there is no such trial.
        """
        waiting = self._ledger.status(identity).state is TrialState.WAITING
        if waiting and identity not in self._queue:
            self._queue.append(identity)

    def add(self, trial: Trial) -> None:
        """Put a trial that a searcher thought of into the ledger, if it is new."""
        self._configs[trial.identity] = trial.config
        self._ledger.add([trial])
        self._announce(News(trial.identity, "", trial))

    def look(self, identity: str) -> Glance:
        """How a trial is doing."""
        progress = self._last.get(identity, Progress())
        return Glance(
            self._ledger.status(identity),
            progress.step,
            progress.losses.get("motion"),
            progress.appearance,
        )

    def stop_trial(self, identity: str, reason: str) -> None:
        """End a trial early, for the sake of others; it keeps its checkpoints."""
        for held in self._held.values():
            if held.identity == identity:
                held.stop = held.stop or reason
        if identity in self._queue:
            attempt = self._ledger.start(identity)
            if attempt is not None:
                self._ledger.stop(identity, attempt, reason, 0, 0.0)
            self._queue.remove(identity)
            self._tell_status(identity, "")

    # --- for slots --------------------------------------------------------------------------------

    def enter(self, slot: str, host: str, pid: int, node: str = "") -> None:
        """A process begins to serve a slot; whatever the slot held before is lost.

        Args:
            slot: its name.
            host: name of the machine.
            pid: process id there.
            node: Ray's id of the machine.
        """
        self.lost(slot, "the process that ran it is gone")
        number = self._processes[slot].number + 1 if slot in self._processes else 1
        self._processes[slot], self._nodes[slot] = Attempt(number, host, pid), node
        self._times.up(slot)
        self._announce(News("", slot, self._processes[slot]))

    def take(self, slot: str) -> Order | Rest:
        """The next trial for a slot, or what to do instead."""
        if self._closing:
            return "leave"
        while self._queue:
            # Off the list when it is on record: if that fails, the trial still waits.
            identity = self._queue[0]
            trial = self._ledger.trials()[identity]
            process = self._processes[slot]
            attempt = self._ledger.start(identity, f"{process.host} {slot} ({process.pid})")
            self._queue.popleft()
            if attempt is None:
                continue  # it is over, or another submission runs it
            now = self._clock()
            self._held[slot] = _Held(identity, attempt, since=now, heard=now)
            self._last[identity] = self._held[slot].progress
            self._times.take(slot)
            self._tell_status(identity, slot)
            return self._order(trial, attempt)
        return "wait"

    def _order(self, trial: Trial, attempt: int) -> Order:
        out, mirror = self._runs.folder(trial), self._runs.uri(trial)
        if self._by_name:
            out = self._runs.work / trial.motion
        # What is only on the machine of the run cannot be its store.
        store = f"{mirror}/store" if self._store is None and mirror is not None else self._store
        config = self._configs.get(trial.identity, trial.config)
        return Order(trial.identity, attempt, config, str(out), store, mirror)

    def push(self, slot: str, identity: str, items: Sequence[Item]) -> bool:
        """Take events of a trial; returns whether it should stop."""
        held = self._held.get(slot)
        if held is None or held.identity != identity:
            return True  # it was given up, and may be running elsewhere
        held.heard = self._clock()
        for item in items:
            held.progress.update(item)
            match item:
                case RunStarted():
                    self._times.work(slot)
                case StepDone():
                    self._times.step(slot)
                case Checkpointed(step=step):
                    held.saved = held.saved or step > 0
                case _:
                    pass
            self._announce(News(identity, slot, item))
        return self._closing or held.stop is not None

    def conclude(self, slot: str, identity: str, attempt: int, outcome: Outcome) -> None:
        """Write down how an attempt ended; the slot is free then."""
        held = self._held.get(slot)
        ours = held is not None and (held.identity, held.attempt) == (identity, attempt)
        seconds = self._clock() - held.since if held is not None and ours else 0.0
        if outcome.finished is not None:
            # True whoever tells it: also a slot that was given up for lost.
            self._ledger.finish(identity, attempt, outcome.finished, seconds)
        elif held is not None and ours and outcome.error is not None:
            reason, kind = " ".join(str(outcome.error).split()), type(outcome.error).__name__
            self._ledger.fail(identity, attempt, reason, seconds, kind)
        elif held is not None and ours and outcome.stopped_at is not None:
            stopped = "the sweep was stopped"
            self._write_end(held, stopped, None, outcome.stopped_at, seconds)
        if ours:
            del self._held[slot]
            self._times.free(slot)
        self._tell_status(identity, slot)

    def _write_end(
        self, held: _Held, reason: str, retries: int | None, step: int, seconds: float
    ) -> None:
        """Write down an attempt without a result; of a trial that was to end early, nobody waits
        for more.
        """
        if held.stop is not None:
            self._ledger.stop(held.identity, held.attempt, held.stop, step, seconds)
        else:
            self._ledger.interrupt(
                held.identity, held.attempt, reason, retries=retries, seconds=seconds, step=step
            )

    def lost(self, slot: str, reason: str) -> None:
        """The process of a slot is gone: its trial waits again, or is given up.

        Raises:
            LedgerError: that cannot be written down; the slot holds the trial until it can.
        """
        held = self._held.get(slot)
        if held is None:
            return
        hung = held.stalled is not None
        if hung:
            waited = f"{self._stall_seconds:g} s"
            reason = f"no sign of progress for {waited}, so its process was killed ({reason})"
        # An attempt that got further than the one before it has used its machine well. One that
        # hung may do so again after every checkpoint.
        spared = (held.saved and not hung) or self._closing
        retries = None if spared else self._retries
        seconds = self._clock() - held.since
        self._write_end(held, reason, retries, held.progress.step, seconds)
        if self._ledger.status(held.identity).state is TrialState.WAITING:
            self._queue.appendleft(held.identity)
        del self._held[slot]
        self._times.free(slot)
        self._tell_status(held.identity, slot)

    # --- for the conductor --------------------------------------------------------------------

    def stalled(self) -> list[Stall]:
        """Processes to be killed, because their trials have begun to hang; each is told once.

        A trial whose process is not lost some time later, for example because it cannot be killed,
        is given to another slot.
        """
        found, now = [], self._clock()
        for slot, held in list(self._held.items()):
            if held.stalled is None and now - held.heard > self._stall_seconds:
                held.stalled = now
                found.append(Stall(self._nodes[slot], self._processes[slot].pid))
            elif held.stalled is not None and now - held.stalled > KILL_SECONDS:
                self.lost(slot, "it could not be killed")
        return found

    # --- for the submitting script ----------------------------------------------------------------

    def drain(self) -> list[News]:
        """Everything new, oldest first; of steps only the latest, if nobody has asked for long."""
        news, self._news, self._everyday = self._news, [], 0
        return news

    def starts(self) -> list[Start]:
        """How every trial so far came to its first step."""
        return self._times.starts

    def idle_share(self) -> float:
        """Part of the slots' time that was not spent on a trial's own work."""
        return self._times.idle_share()

    def close(self) -> None:
        """Give nothing out any more, and ask every slot to leave after the step it is in."""
        self._closing = True

    def busy(self) -> int:
        """How many slots hold a trial."""
        return len(self._held)

    def _announce(self, news: News) -> None:
        """Keep something for the script. It may not ask for hours (its output is a full pipe, its
        process is stopped), and has to hear of every trial and of its end all the same.
        """
        self._news.append(news)
        self._everyday += isinstance(news.item, EVERYDAY)
        if self._everyday > CAPACITY:
            spared = self._everyday = CAPACITY // 2
            kept = []
            for each in reversed(self._news):
                if isinstance(each.item, EVERYDAY):
                    spared -= 1
                    if spared < 0:
                        continue
                kept.append(each)
            self._news = kept[::-1]

    def _tell_status(self, identity: str, slot: str) -> None:
        self._announce(News(identity, slot, self._ledger.status(identity)))
