"""A sweep in simulated time: real decisions, imagined machines.

Which trial is next, what happens to one whose node was lost, who is retried and who is ended early
is decided by the code that also runs real sweeps: :class:`motion_ray.cluster.desk.SweepDesk` with a
ledger in memory, and :func:`motion_ray.sweeps.policy.judge`. Only slots, nodes, their failures and
the passing of time are made up here.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fsspec.implementations.memory import MemoryFileSystem

from motion_ray.cluster.desk import Order, SweepDesk
from motion_ray.cluster.outcome import Outcome
from motion_ray.cluster.relay import Item
from motion_ray.errors import DataError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import Checkpointed, RunFinished, RunStarted, StepDone, Validated


@dataclass(frozen=True)
class Work:
    """A trial and what it would do on its own.

    Attributes:
        trial: its config says how often it validates and saves.
        steps: at which it ends: its last, or where its floor stops it.
        step_seconds: of one optimizer step.
        broken: step at which it fails in a way that no retry helps; null: it does not.
    """

    trial: Trial
    steps: int
    step_seconds: float
    broken: int | None = None


@dataclass(frozen=True)
class Site:
    """The machines.

    Attributes:
        slots: trials at once.
        per_node: slots that one node's failure takes away.
        cold_seconds: from a new process to its first step.
        warm_seconds: from a free slot to the first step of its next trial.
        validation_seconds: of one validation.
        save_seconds: of one checkpoint.
        publish_seconds: from the last step to the result.
        node_mtbf: mean seconds between failures of one node; infinite: none fails.
        detect_seconds: until a lost node is noticed.
        repair_seconds: until a node, or another in its place, is back.
    """

    slots: int
    per_node: int = 8
    cold_seconds: float = 30.0
    warm_seconds: float = 8.0
    validation_seconds: float = 60.0
    save_seconds: float = 10.0
    publish_seconds: float = 60.0
    node_mtbf: float = math.inf
    detect_seconds: float = 15.0
    repair_seconds: float = 3600.0


@dataclass
class Account:
    """Where the slots' seconds went.

    Attributes:
        useful: steps, validations and saves that became part of a result.
        starting: from taking a trial to its first step.
        lost: work since the last checkpoint of trials whose node was lost.
        failed: the same of trials that failed by themselves.
        down: slots without a node.
        failures: of nodes.
        results: simulated time of each result, in order.
        full_until: when a slot found no trial waiting for the first time.
        useful_until_then: useful seconds up to that moment, what is not saved yet included.
        ended: simulated seconds until the last trial was over.
    """

    useful: float = 0.0
    starting: float = 0.0
    lost: float = 0.0
    failed: float = 0.0
    down: float = 0.0
    failures: int = 0
    results: list[float] = field(default_factory=list)
    full_until: float | None = None
    useful_until_then: float = 0.0
    ended: float = 0.0


@dataclass
class _Slot:
    name: str
    life: int = 0  # grows when its process dies; what was planned for an earlier life is void
    order: Order | None = None
    step: int = 0
    segment: float = 0.0  # when the segment under way began
    unsaved: float = 0.0  # seconds of work since the last checkpoint
    begun: bool = False  # the start is over and steps are taken


_NUMBERS = itertools.count()  # of simulations in this process; each has a record of its own

#: Called at every validation with (identity, step); trials to end, with the reason of each.
Review = Callable[[str, int], Mapping[str, str]]


class Simulation:
    """Runs a sweep; :meth:`run` returns when every trial is over.

    Args:
        works: the trials, in the order in which they should start.
        site: the machines.
        retries: new attempts of a trial after losses that saved nothing new.
        seed: of the failures.
        review: the policy; null: no trial is ended early.
    """

    def __init__(
        self,
        works: Sequence[Work],
        site: Site,
        *,
        retries: int = 2,
        seed: int = 0,
        review: Review | None = None,
    ) -> None:
        self.now = 0.0
        self.account = Account()
        self._site, self._review = site, review
        self._chance = random.Random(seed)
        self._works = {work.trial.identity: work for work in works}
        self._saved = dict.fromkeys(self._works, 0)
        uri = f"memory://simulated-sweep-{next(_NUMBERS)}"  # an id() may come again
        self.ledger = Ledger(uri, clock=lambda: self.now)
        self.ledger.add(work.trial for work in works)
        self._desk = SweepDesk(uri, "runs", site.slots, retries, clock=lambda: self.now)
        self._slots = [_Slot(f"slot-{number:05d}") for number in range(site.slots)]
        self._idle: dict[str, _Slot] = {}
        self._left = len(works)
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._uri = uri

    def run(self) -> Account:
        """Let time pass until all trials are over."""
        for identity in self._works:
            self._desk.post(identity)
        for slot in self._slots:
            self._come_up(slot)
        for first in range(0, self._site.slots, self._site.per_node):
            self._plan_failure(self._slots[first : first + self._site.per_node])
        while self._left:
            self.now, _, happen = heapq.heappop(self._plans)
            happen()
        self.account.ended = self.now
        return self.account

    def statuses(self) -> dict[str, TrialStatus]:
        """What the record says of every trial."""
        return self.ledger.statuses()

    def idle_share(self) -> float:
        """What the desk says of the slots' time."""
        return self._desk.idle_share()

    def forget(self) -> None:
        """Give the memory of the record back."""
        prefix = self._uri.removeprefix("memory:/")
        for path in [path for path in MemoryFileSystem.store if path.startswith(f"{prefix}/")]:
            del MemoryFileSystem.store[path]

    # --- slots ------------------------------------------------------------------------------------

    def _come_up(self, slot: _Slot) -> None:
        self._desk.enter(slot.name, f"node-{int(slot.name[5:]) // self._site.per_node}", 1)
        self._seek(slot, self._site.cold_seconds)

    def _seek(self, slot: _Slot, seconds: float) -> None:
        order = self._desk.take(slot.name)
        if not isinstance(order, Order):
            self._idle[slot.name] = slot
            self._note_first_idle()
            return
        slot.order, slot.segment, slot.unsaved, slot.begun = order, self.now, 0.0, False
        self._plan(seconds, slot, lambda: self._begin(slot))

    def _note_first_idle(self) -> None:
        if self.account.full_until is None:
            working = [slot for slot in self._slots if slot.order is not None and slot.begun]
            under_way = sum(slot.unsaved + self.now - slot.segment for slot in working)
            self.account.full_until = self.now
            self.account.useful_until_then = self.account.useful + under_way

    def _wake(self) -> None:
        idle, self._idle = list(self._idle.values()), {}
        for slot in idle:
            self._seek(slot, self._site.warm_seconds)

    def _begin(self, slot: _Slot) -> None:
        identity = _identity(slot)
        self.account.starting += self.now - slot.segment
        slot.step, slot.begun = self._saved[identity], True
        begun = RunStarted(slot.step, self._works[identity].steps, 1, 1, 1, 1, "gpu", slot.step > 0)
        self._desk.push(slot.name, identity, [begun])
        slot.segment = self.now
        if slot.step == self._works[identity].steps:  # lost while its result was written
            self._plan(self._site.publish_seconds, slot, lambda: self._finish(slot))
            return
        first = self._site.validation_seconds + self._site.save_seconds if slot.step == 0 else 0.0
        self._go_on(slot, first)

    def _go_on(self, slot: _Slot, extra: float = 0.0) -> None:
        """Plan the next step at which anything but training happens."""
        work = self._works[_identity(slot)]
        config = work.trial.config
        ends = [work.steps] if work.broken is None else [work.steps, work.broken]
        marks = [_after(slot.step, n) for n in (config.checkpoint_every, config.validation.every)]
        mark = min(*ends, *marks)
        seconds = extra + (mark - slot.step) * work.step_seconds
        seconds += self._site.validation_seconds * self._validates(work, mark)
        seconds += self._site.save_seconds
        slot.segment = self.now
        self._plan(seconds, slot, lambda: self._reach(slot, mark))

    def _validates(self, work: Work, step: int) -> bool:
        return step % work.trial.config.validation.every == 0 or step == work.steps

    def _reach(self, slot: _Slot, step: int) -> None:
        identity = _identity(slot)
        work = self._works[identity]
        slot.unsaved += self.now - slot.segment
        if step == work.broken:
            self.account.failed += slot.unsaved
            self._conclude(slot, Outcome(error=DataError("a.mp4", "cannot be decoded")))
            return
        slot.step = step
        self._keep(slot)
        items: list[Item] = [StepDone(step, 0.2, {"motion": 0.2}, 0.0, 0.0, work.step_seconds)]
        if self._validates(work, step):
            items.append(Validated(step, 0.8, 0.7, True, self._site.validation_seconds))
            if self._review is not None:
                for other, reason in self._review(identity, step).items():
                    self._desk.stop_trial(other, reason)
        stop = self._desk.push(slot.name, identity, [*items, Checkpointed(step, "")])
        if step == work.steps:
            self._plan(self._site.publish_seconds, slot, lambda: self._finish(slot))
            slot.segment = self.now
        elif stop:
            self._conclude(slot, Outcome(stopped_at=step))
        else:
            self._go_on(slot)

    def _keep(self, slot: _Slot) -> None:
        self.account.useful += slot.unsaved
        slot.unsaved = 0.0
        self._saved[_identity(slot)] = slot.step

    def _finish(self, slot: _Slot) -> None:
        slot.unsaved += self.now - slot.segment
        self._keep(slot)
        self.account.results.append(self.now)
        reason = "max_steps" if slot.step == _order(slot).config.max_steps else "appearance_floor"
        finished = RunFinished(slot.step, slot.step, reason, "motion@1", "store", "report.html")
        self._conclude(slot, Outcome(finished=finished))

    def _conclude(self, slot: _Slot, outcome: Outcome) -> None:
        order = _order(slot)
        self._desk.conclude(slot.name, order.identity, order.attempt, outcome)
        slot.order = None
        self._left -= 1
        self._seek(slot, self._site.warm_seconds)

    # --- failures ---------------------------------------------------------------------------------

    def _plan_failure(self, node: list[_Slot]) -> None:
        if math.isfinite(self._site.node_mtbf):
            seconds = self._chance.expovariate(1 / self._site.node_mtbf)
            self._later(seconds, lambda: self._fail(node))

    def _fail(self, node: list[_Slot]) -> None:
        self.account.failures += 1
        for slot in node:
            slot.life += 1
            self._idle.pop(slot.name, None)
            if slot.order is not None:
                self.account.lost += slot.unsaved + self.now - slot.segment
            slot.order = None
        self._later(self._site.detect_seconds, lambda: self._notice(node))
        self._later(self._site.repair_seconds, lambda: self._repair(node))

    def _notice(self, node: list[_Slot]) -> None:
        for slot in node:
            self._desk.lost(slot.name, "its node was lost")
        self._left -= self._given_up()
        self._wake()

    def _given_up(self) -> int:
        """Trials that the desk has just given up, because too many of their attempts were lost."""
        news = {each.identity: each.item for each in self._desk.drain() if each.identity}
        statuses = [item for item in news.values() if isinstance(item, TrialStatus)]
        return sum(s.state is TrialState.FAILED and "given up" in s.reason for s in statuses)

    def _repair(self, node: list[_Slot]) -> None:
        self.account.down += len(node) * self._site.repair_seconds
        for slot in node:
            self._come_up(slot)
        self._plan_failure(node)

    # --- time -------------------------------------------------------------------------------------

    def _plan(self, seconds: float, slot: _Slot, happen: Callable[[], None]) -> None:
        life = slot.life

        def unless_dead() -> None:
            if slot.life == life:
                happen()

        self._later(seconds, unless_dead)

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._plans, (self.now + seconds, next(self._count), happen))


def _order(slot: _Slot) -> Order:
    assert slot.order is not None, "a slot that works has an order"
    return slot.order


def _identity(slot: _Slot) -> str:
    return _order(slot).identity


def _after(step: int, every: int) -> int:
    """The next multiple of ``every`` behind ``step``."""
    return (step // every + 1) * every
