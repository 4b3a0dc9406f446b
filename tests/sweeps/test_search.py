"""Searches: what is asked, what is told, and that a killed one is found again as it was."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from motion_ray.config import CustomizationConfig
from motion_ray.errors import LedgerError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.search import Search, recall
from motion_ray.sweeps.search_log import Asked, Declined, SearchLog, Told
from motion_ray.sweeps.spec import parse_spec
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.studies import Coordinate, Study, list_studies
from motion_ray.sweeps.trial import Trial
from motion_ray.sweeps.trials import TrialMaker
from tests.sweeps.samples import result

RATES = {"optimizer.lr": {"kind": "loguniform", "low": 1e-5, "high": 1e-2}}


class Hasher:
    """Suggests what follows from everything that it was asked and told, as a searcher does."""

    def __init__(self, study: Study, version: str = "1") -> None:
        self._past = f"{version} {study.random_seed}"
        self.width = len(study.space)

    def suggest(self, number: int) -> Sequence[Coordinate] | None:
        self._past += f" asked {number}"
        digest = hashlib.sha256(self._past.encode()).digest()
        return [int.from_bytes(digest[4 * i : 4 * i + 4]) / 2**32 for i in range(self.width)]

    def tell(self, number: int, value: float) -> None:
        self._past += f" told {number} {value}"


class Careful(Hasher):
    """Has one suggestion, and no other before it knows what became of the last one."""

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._open = False

    def suggest(self, number: int) -> Sequence[Coordinate] | None:
        place = super().suggest(number)  # being asked in vain changes it too
        if self._open:
            return None
        self._open = True
        return place

    def tell(self, number: int, value: float) -> None:
        super().tell(number, value)
        self._open = False


class Stubborn(Hasher):
    def suggest(self, number: int) -> Sequence[Coordinate] | None:
        return [0.5] * self.width


class Sweep:
    """A sweep whose trials are over as soon as somebody says so."""

    def __init__(self, folder: Path, out: Path, **values: Any) -> None:
        keys = {"searcher": "optuna", "random": {"samples": 4, "settings": RATES}}
        motions = [str(folder / "slide"), str(folder / "glide")]
        spec = {"recipe": str(folder / "recipe.yaml"), "motions": motions, **keys, **values}
        self.maker = TrialMaker(parse_spec(spec))
        self.studies = list_studies(self.maker)
        self.ledger, self.log = Ledger(out), SearchLog(out)

    def search(self, suggester: Any = Hasher) -> Search:
        return Search(
            self.maker, self.studies, self.ledger, self.log, suggester, lambda trial: lines(trial)
        )

    def run(self, search: Search, at_once: int = 1) -> list[Trial]:
        """Run trials, so many at once, until there are no more; returns those that were started."""
        running: list[Trial] = []
        started = []
        while True:
            trial = search.next() if len(running) < at_once else "later"
            if isinstance(trial, Trial):
                if self.ledger.start(trial.identity) is not None:
                    running.append(trial)
                    started.append(trial)
            elif running:
                self.over(running.pop(0))
            elif trial == "done":
                return started

    def over(self, trial: Trial) -> None:
        attempt = self.ledger.status(trial.identity).attempts
        self.ledger.finish(trial.identity, attempt, result(20, motion=trial.motion), 1.0)

    def told(self) -> list[Told]:
        return [entry for entry in self.log.entries() if isinstance(entry, Told)]


def lines(trial: Trial) -> list[dict[str, Any]]:
    """A trial that learns more at a higher rate, and diverges above 5e-3."""
    rate = trial.config.optimizer.lr
    last = 9.0 if rate > 5e-3 else 1 - 100 * rate
    scored = {"event": "validation", "step": 0, "appearance": 0.3, "floor": 0.2}
    losses = [1.0] * 2 + [last] * 18
    steps = [
        {"event": "step", "step": step, "losses": {"motion": loss}}
        for step, loss in enumerate(losses, 1)
    ]
    return [scored, *steps]


@pytest.fixture
def folder(tmp_path: Path, tiny_run: CustomizationConfig) -> Path:
    """Two motions and a recipe of twenty steps."""
    root = tmp_path / "here"
    for name in ("slide", "glide"):
        shutil.copytree(tiny_run.motion, root / name)
    values = tiny_run.replace({"max_steps": 20}).model_dump(mode="json")
    (root / "recipe.yaml").write_text(yaml.safe_dump(values))
    return root


def test_every_search_gets_its_trial_in_turn_and_is_told_what_came_of_it(
    folder: Path, tmp_path: Path
) -> None:
    sweep = Sweep(folder, tmp_path / "out")
    trials = sweep.run(sweep.search())
    assert [trial.motion for trial in trials] == ["slide", "glide"] * 4
    assert len({trial.identity for trial in trials}) == 8
    assert list(sweep.ledger.trials().values()) == trials
    rates = {trial.identity: trial.config.optimizer.lr for trial in trials}
    asked = {
        (entry.study, entry.number): rates[entry.trial]
        for entry in sweep.log.entries()
        if isinstance(entry, Asked)
    }
    told = {(entry.study, entry.number): entry.value for entry in sweep.told()}
    assert len(told) == 8
    for key, value in told.items():
        expected = 1.0 if asked[key] > 5e-3 else 1 - 100 * asked[key]
        assert value == pytest.approx(expected)


def test_the_searches_of_two_motions_differ_and_those_of_one_sweep_elsewhere_do_not(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    here, there = Sweep(folder, tmp_path / "a"), Sweep(tmp_path / "elsewhere", tmp_path / "b")
    assert [study.identity for study in here.studies] == [study.identity for study in there.studies]
    assert len({study.random_seed for study in here.studies}) == 2
    wider = {"optimizer.lr": {"kind": "loguniform", "low": 1e-6, "high": 1e-2}}
    other = Sweep(folder, tmp_path / "c", random={"samples": 4, "settings": wider})
    longer = Sweep(folder, tmp_path / "d", random={"samples": 9, "settings": RATES})
    assert not {s.identity for s in other.studies} & {s.identity for s in here.studies}
    assert {s.identity for s in longer.studies} == {s.identity for s in here.studies}


@pytest.mark.parametrize("suggester", [Hasher, Careful])
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_search_killed_after_any_entry_ends_as_if_nothing_had_happened(
    folder: Path, tmp_path: Path, suggester: Any, at_once: int
) -> None:
    whole = Sweep(folder, tmp_path / "whole")
    trials = whole.run(whole.search(suggester), at_once)
    entries = whole.log.entries()
    assert any(isinstance(entry, Declined) for entry in entries) == (
        suggester is Careful and at_once > 2
    )
    for kept in range(len(entries) + 1):
        out = tmp_path / f"killed-{kept}"
        killed = Sweep(folder, out)
        for entry in entries[:kept]:
            killed.log.append(entry)
        # What had been told was over, and stays so.
        known = recall(killed.maker, killed.log.records(killed.studies).values())
        killed.ledger.add(known)
        ended = {(entry.study, entry.number) for entry in killed.told()}
        for entry in entries[:kept]:
            if isinstance(entry, Asked) and (entry.study, entry.number) in ended:
                killed.ledger.start(entry.trial)
                killed.over(killed.ledger.trials()[entry.trial])
        again = Sweep(folder, out)
        started = again.run(again.search(suggester), at_once)
        assert len(started) == len(trials) - len(ended)
        statuses = again.ledger.statuses().values()
        assert {status.state for status in statuses} == {TrialState.FINISHED}
        assert {status.attempts for status in statuses} == {1}
        if at_once == 1:  # else the order of results is another, and so are later suggestions
            assert set(again.ledger.trials()) == {trial.identity for trial in trials}


def test_the_same_sweep_again_runs_nothing_and_a_longer_one_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    first = Sweep(folder, tmp_path / "out")
    trials = first.run(first.search())
    again = Sweep(folder, tmp_path / "out")
    records = again.log.records(again.studies)
    assert sum(record.unasked for record in records.values()) == 0
    assert again.run(again.search()) == []
    longer = Sweep(folder, tmp_path / "out", random={"samples": 6, "settings": RATES})
    more = longer.run(longer.search())
    assert len(more) == 4 and not {t.identity for t in more} & {t.identity for t in trials}
    whole = Sweep(folder, tmp_path / "whole", random={"samples": 6, "settings": RATES})
    assert {t.identity for t in whole.run(whole.search())} == set(longer.ledger.trials())


def test_a_searcher_that_does_not_repeat_itself_is_refused(folder: Path, tmp_path: Path) -> None:
    sweep = Sweep(folder, tmp_path / "out")
    sweep.run(sweep.search())
    with pytest.raises(LedgerError, match=r"searcher optuna: does not repeat itself: on record"):
        sweep.search(lambda study: Hasher(study, version="2"))


def test_a_setting_that_is_picked_again_is_not_run_again(folder: Path, tmp_path: Path) -> None:
    sweep = Sweep(folder, tmp_path / "out")
    assert len(sweep.run(sweep.search(Stubborn))) == 2
    assert len(sweep.told()) == 8


def test_two_processes_cannot_extend_one_search(folder: Path, tmp_path: Path) -> None:
    one, other = Sweep(folder, tmp_path / "out"), Sweep(folder, tmp_path / "out")
    first, second = one.search(), other.search()
    first.next()
    with pytest.raises(LedgerError, match="another process searches in this record"):
        second.next()


def test_a_damaged_entry_is_told(folder: Path, tmp_path: Path) -> None:
    sweep = Sweep(folder, tmp_path / "out")
    sweep.run(sweep.search())
    file = tmp_path / "out" / "search" / "000002.json"
    good = file.read_text()
    first = (tmp_path / "out" / "search" / "000001.json").read_text()
    for bad in (good[:-9], good.replace('"number": 1', '"number": 3'), first):
        file.write_text(bad)
        with pytest.raises(LedgerError, match=r"000002.json: is damaged"):
            SearchLog(tmp_path / "out").records(sweep.studies)


@pytest.mark.parametrize("suggester", [Hasher, Careful])
@pytest.mark.parametrize("part", ["log", "ledger"])
def test_a_search_whose_storage_fails_goes_on_as_if_nothing_had_happened(
    folder: Path, tmp_path: Path, suggester: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Sweep(folder, tmp_path / "whole")
    trials = whole.run(whole.search(suggester), 3)
    sweep = Sweep(folder, tmp_path / "out")
    search = sweep.search(suggester)
    place, calls = getattr(sweep, part)._place, itertools.count()
    create, ask = place.create, search.next

    def fail_at_first(path: str, data: bytes) -> bool:
        if not path.startswith("events") and next(calls) % 2 == 0:
            raise LedgerError(path, "cannot be written: timed out", "check the address")
        return create(path, data)

    def patient() -> Any:
        while True:
            with contextlib.suppress(LedgerError):
                return ask()

    place.create = fail_at_first
    monkeypatch.setattr(search, "next", patient)
    started = sweep.run(search, 3)
    assert [each.identity for each in started] == [each.identity for each in trials]
    assert sweep.log.entries() == whole.log.entries()
    Sweep(folder, tmp_path / "out").search(suggester)  # it can be found again
