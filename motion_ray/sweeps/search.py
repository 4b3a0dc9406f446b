"""Which trial comes next where a searcher decides on it.

Everything that a searcher suggests or is told is on record before anybody acts on it
(:mod:`motion_ray.sweeps.search_log`). A search that goes on after a kill begins by playing that
record to new searchers, and refuses to go on if one of them does not suggest what it suggested
then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from motion_ray.errors import LedgerError
from motion_ray.sweeps.curves import read_curve
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.objective import assess
from motion_ray.sweeps.ranking import Entry
from motion_ray.sweeps.search_log import Asked, Declined, SearchLog, StudyRecord, Told
from motion_ray.sweeps.studies import Coordinate, Study
from motion_ray.sweeps.trial import Trial
from motion_ray.sweeps.trials import TrialMaker


class Suggester(Protocol):
    """A searcher: a function of its seed and of the calls so far, and of nothing else."""

    def suggest(self, number: int) -> Sequence[Coordinate] | None:
        """A place of the space; null if it has none before it is told more.

        Args:
            number: 1, 2, ... of the suggestion; the same again after a null.
        """
        ...

    def tell(self, number: int, value: float) -> None:
        """What came of a suggestion; lower is better."""
        ...


class Search:
    """The searches of a sweep, one trial at a time.

    Args:
        maker: makes trials of settings.
        studies: all searches.
        ledger: the record; every trial that is returned is in it.
        log: what was suggested and told; this process alone extends it.
        suggester: a new searcher for a study.
        metrics: the lines of a trial's ``metrics.jsonl``.

    Raises:
        LedgerError: the record cannot be read, or a searcher does not repeat what is in it.
    """

    def __init__(
        self,
        maker: TrialMaker,
        studies: Sequence[Study],
        ledger: Ledger,
        log: SearchLog,
        suggester: Callable[[Study], Suggester],
        metrics: Callable[[Trial], Iterable[Mapping[str, Any]]],
    ) -> None:
        self._maker, self._ledger, self._log, self._metrics = maker, ledger, log, metrics
        self._records = {study.identity: StudyRecord(study) for study in studies}
        self._suggesters = {study.identity: suggester(study) for study in studies}
        for entry in log.entries():
            if entry.study in self._records:
                self._replay(self._records[entry.study], entry)
        trials = recall(maker, self._records.values())
        ledger.add(trials)
        statuses = ledger.statuses()
        self._again = deque(each for each in trials if not statuses[each.identity].state.over)
        # What a searcher has suggested, while it is not on record yet.
        self._suggested: tuple[StudyRecord, Sequence[Coordinate] | None] | None = None

    def next(self) -> Trial | Literal["later", "done"]:
        """The trial to run next: one that was interrupted, or a new one.

        ``later`` means that results have to come in first. After an error it can be called again,
        and goes on where it was.

        Raises:
            LedgerError: the record cannot be read or written.
            MirrorError: what a trial has measured cannot be read.
        """
        if self._again:
            return self._give()
        if self._suggested is not None:
            trial = self._record(*self._suggested)
            if trial is not None:
                return trial
        self._tell_results()
        # The search that has asked least is next, so that none waits for the others.
        for record in sorted(self._records.values(), key=lambda each: len(each.asked)):
            if record.unasked and not record.declined:
                trial = self._ask(record)
                if trial is not None:
                    return trial
        return "later" if any(each.unasked for each in self._records.values()) else "done"

    def _give(self) -> Trial:
        self._ledger.add([self._again[0]])
        return self._again.popleft()

    def _ask(self, record: StudyRecord) -> Trial | None:
        place = self._suggesters[record.study.identity].suggest(len(record.asked) + 1)
        self._suggested = record, place
        return self._record(record, place)

    def _record(self, record: StudyRecord, place: Sequence[Coordinate] | None) -> Trial | None:
        study, number = record.study, len(record.asked) + 1
        if place is None:
            self._write(record, Declined(study=study.identity))
            self._suggested = None
            return None
        settings = study.settings(place)
        trial = self._maker.make(study.motion, {**study.point, **settings}, study.seed)
        # First here: the trial can be made again from this entry, but not the entry from the trial.
        self._write(
            record,
            Asked(study=study.identity, number=number, trial=trial.identity, settings=settings),
        )
        self._suggested = None
        self._again.append(trial)
        return self._give()

    def _tell_results(self) -> None:
        for record in self._records.values():
            for asked in record.asked:
                if asked.number not in record.told:
                    self._tell_result(record, asked)

    def _tell_result(self, record: StudyRecord, asked: Asked) -> None:
        status = self._ledger.status(asked.trial)
        if not status.state.over:
            return
        trial = self._ledger.trials()[asked.trial]
        curve = read_curve(trial.identity, trial.config, self._metrics(trial))
        found = assess(Entry(trial, status, curve), record.scales())
        told = Told(
            study=record.study.identity,
            number=asked.number,
            value=found.value,
            yardstick=found.yardstick,
            untrained=found.untrained,
        )
        self._write(record, told)
        self._suggesters[told.study].tell(told.number, told.value)

    def _write(self, record: StudyRecord, entry: Asked | Told | Declined) -> None:
        self._log.append(entry)
        record.take(entry)

    def _replay(self, record: StudyRecord, entry: Asked | Told | Declined) -> None:
        suggester = self._suggesters[entry.study]
        match entry:
            case Told(number=number, value=value):
                suggester.tell(number, value)
            case Asked() | Declined():
                place = suggester.suggest(len(record.asked) + 1)
                now = None if place is None else record.study.settings(place)
                then = entry.settings if isinstance(entry, Asked) else None
                if now != then:
                    raise _changed(record.study, then, now)
        record.take(entry)


def recall(maker: TrialMaker, records: Iterable[StudyRecord]) -> list[Trial]:
    """The trials that searches have asked for, each once, first suggestions first.

    Raises:
        LedgerError: the settings on record give other trials than they gave then.
    """
    trials: dict[str, Trial] = {}
    asked = [(each.number, record.study, each) for record in records for each in record.asked]
    for _, study, each in sorted(asked, key=lambda one: one[0]):
        trial = maker.make(study.motion, {**study.point, **each.settings}, study.seed)
        if trial.identity != each.trial:
            where = f"search {study.identity[:12]}, suggestion {each.number}"
            rule = "gives another trial now than it gave then"
            raise LedgerError(where, rule, "restore the record, or choose another --out")
        trials.setdefault(trial.identity, trial)
    return list(trials.values())


def _changed(study: Study, then: object, now: object) -> LedgerError:
    rule = f"does not repeat itself: on record is {then}, now it suggests {now}"
    fix = "install the version of the searcher that began this sweep, or choose another --out"
    return LedgerError(f"searcher {study.searcher}", rule, fix)
