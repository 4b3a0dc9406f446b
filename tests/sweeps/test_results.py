"""The best of each motion: how it is found, registered once, and shown."""

from __future__ import annotations

import dataclasses
import html.parser
import math
from pathlib import Path

import pytest

from motion_ray.config import CustomizationConfig
from motion_ray.customization.loop import customize
from motion_ray.errors import DeltaError, MirrorError
from motion_ray.store import DeltaStore
from motion_ray.sweeps.curves import Curve
from motion_ray.sweeps.leaderboard import tradeoff_chart, write_leaderboard
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.ranking import Entry, best, rank
from motion_ray.sweeps.results import publish_results
from motion_ray.sweeps.status import TrialState, TrialStatus
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished
from tests.crash import numbered_delta
from tests.sweeps.recorded_curves import recorded
from tests.sweeps.samples import result, trial

SLOW, MIDDLE, GOOD = "lr 1e-05, seed 0", "lr 0.0001, seed 0", "lr 0.001, seed 0"


def entry(
    number: int,
    curve: Curve,
    state: TrialState = TrialState.FINISHED,
    motion: str = "dabbing",
    reason: str = "",
) -> Entry:
    finished = dataclasses.asdict(result(step=160, motion=motion))
    status = TrialStatus(
        state=state,
        attempts=1,
        seconds=90.0,
        reason=reason,
        result=finished if state is TrialState.FINISHED else None,
    )
    return Entry(trial(number, motion), status, curve)


def test_the_best_is_the_finished_trial_that_learned_most() -> None:
    curves = recorded()
    failed = entry(4, curves[GOOD], TrialState.FAILED)
    entries = [entry(1, curves[SLOW]), entry(2, curves[GOOD]), failed, entry(3, curves[MIDDLE])]
    [(motion, standings)] = rank(entries).items()
    assert motion == "dabbing"
    assert [row.entry.trial.config.seed for row in standings] == [2, 3, 1, 4]
    assert [row.rank for row in standings] == [1, 2, 3, None]
    first = best(standings)
    assert first is not None and first.appearance == pytest.approx(0.78848)
    assert first.remaining.mean == pytest.approx(0.73, abs=0.05)
    assert best([row for row in standings if row.rank is None]) is None


def test_losses_of_another_yardstick_are_compared_by_their_share() -> None:
    curve = recorded()[MIDDLE]
    larger = {step: 10 * loss for step, loss in recorded()[GOOD].losses.items()}
    scaled = dataclasses.replace(curve, yardstick="another density", losses=larger)
    standings = rank([entry(1, curve), entry(2, scaled)])["dabbing"]
    assert [row.entry.trial.config.seed for row in standings] == [2, 1]


def test_only_the_loss_up_to_the_deltas_step_counts() -> None:
    curve = recorded()[GOOD]
    late = {step: loss if step <= 80 else 0.001 for step, loss in curve.losses.items()}
    stopped = entry(1, dataclasses.replace(curve, losses=late))
    ended = dataclasses.asdict(result(step=160, delta_step=80))
    stopped = dataclasses.replace(stopped, status=dataclasses.replace(stopped.status, result=ended))
    [row] = rank([stopped])["dabbing"]
    assert row.remaining.mean > 0.7


def test_a_trial_that_never_ran_comes_last_and_breaks_nothing(tmp_path: Path) -> None:
    curves = recorded()
    never = entry(2, dataclasses.replace(curves[SLOW], scored=(), losses={}), TrialState.WAITING)
    standings = rank([never, entry(1, curves[GOOD])])
    assert [row.rank for row in standings["dabbing"]] == [1, None]
    assert math.isnan(standings["dabbing"][1].remaining.mean)
    write_leaderboard(tmp_path, "night 1", standings, [], lambda one: tmp_path / one.short)


class _Tags(html.parser.HTMLParser):
    """Counts elements and sees that every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_trial_and_escapes_what_users_wrote(tmp_path: Path) -> None:
    curves = recorded()
    bad = entry(3, curves[MIDDLE], TrialState.FAILED, reason="a.mp4: <script>alert(1)</script>")
    standings = rank([entry(1, curves[SLOW]), entry(2, curves[GOOD]), bad])
    page = write_leaderboard(
        tmp_path, "night <1>", standings, [], lambda one: tmp_path / one.short
    ).read_text()
    assert "<script>" not in page and "night &lt;1&gt;" in page
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("svg") == 3
    assert tags.seen.count("tr") == 1 + 3
    assert page.index("seed=2") < page.index("seed=1")  # the best first


def test_the_trade_off_goes_from_much_appearance_to_much_motion() -> None:
    curves = recorded()
    [standing] = rank([entry(1, curves[GOOD])])["dabbing"]
    chart = tradeoff_chart([standing])
    assert chart.count("<circle") == 8  # validations after step 0
    assert "learned away" in chart


def _run(ledger: Ledger, one: Trial, folder: Path) -> RunFinished:
    attempt = ledger.start(one.identity)
    assert attempt is not None
    events = list(customize(one.config, folder, cache=folder.parent / "cache"))
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    ledger.finish(one.identity, attempt, finished, seconds=1.0)
    return finished


@pytest.mark.slow
def test_the_best_delta_is_registered_once(tiny_run: CustomizationConfig, tmp_path: Path) -> None:
    """Real runs of the tiny base; the higher learning rate learns more in six steps."""

    def made(number: int, lr: float) -> Trial:
        config = tiny_run.replace({"optimizer": {"lr": lr}, "max_steps": 12, "name": "slide"})
        return dataclasses.replace(trial(number, "slide", **{"optimizer.lr": lr}), config=config)

    ledger, store = Ledger(tmp_path / "ledger"), str(tmp_path / "store")
    slow, fast = made(1, 1e-6), made(2, 2e-2)
    ledger.add([slow, fast])

    def folder(one: Trial) -> Path:
        return tmp_path / "runs" / one.short

    first = _run(ledger, slow, folder(slow))
    found = publish_results(ledger, folder, tmp_path, store, "night 1")
    assert [(r.reference, r.trial, r.new) for r in found.registered] == [
        ("slide@1", slow.identity, True)
    ]
    again = publish_results(ledger, folder, tmp_path, store, "night 1")
    assert [(r.reference, r.new) for r in again.registered] == [("slide@1", False)]
    second = _run(ledger, fast, folder(fast))
    better = publish_results(ledger, folder, tmp_path, store, "night 1")
    assert [(r.reference, r.trial) for r in better.registered] == [("slide@2", fast.identity)]
    assert [(record.reference, record.sha256) for record in DeltaStore(store).list()] == [
        ("slide@1", first.sha256),
        ("slide@2", second.sha256),
    ]
    page = better.page.read_text()
    assert "slide@2" in page and page.count("<video") > 0
    assert f'href="runs/{fast.short}/report.html"' in page


def _finish(ledger: Ledger, one: Trial, folder: Path, seed: int) -> None:
    """A finished trial with a store in its folder."""
    reference = DeltaStore(folder / "store").publish(numbered_delta(seed), one.motion)
    ledger.add([one])
    attempt = ledger.start(one.identity)
    assert attempt is not None
    places = {"store": str(folder / "store"), "report": str(folder / "report.html")}
    finished = dataclasses.replace(result(motion=one.motion), delta=reference, **places)
    ledger.finish(one.identity, attempt, finished, seconds=1.0)


def test_one_unusable_trial_costs_the_others_neither_registration_nor_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, store = Ledger(tmp_path / "ledger"), str(tmp_path / "store")
    waving, jumping, lost = trial(1, "waving"), trial(2, "jumping"), trial(3, "bowing")
    for seed, one in enumerate((waving, jumping, lost)):
        _finish(ledger, one, tmp_path / one.short, seed)
    for file in (tmp_path / waving.short / "store").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    (tmp_path / jumping.short / "samples").mkdir()
    (tmp_path / jumping.short / "samples" / "a.mp4").write_bytes(b"no video")

    def folder(one: Trial) -> Path:
        if one is not jumping and one.motion == "bowing":
            raise MirrorError("s3://bucket/bowing", "cannot be read", "check the address")
        return tmp_path / one.short

    found = publish_results(ledger, folder, tmp_path, store, "night 1")
    assert [each.reference for each in found.registered] == ["jumping@1", "bowing@1"]
    assert [type(each) for each in found.problems] == [MirrorError, DeltaError]
    page = found.page.read_text()
    assert all(one.short in page for one in (waving, jumping, lost))
    assert "waving: trial" in caplog.text and "is shown without videos" in caplog.text


def test_a_sweep_whose_folder_was_moved_is_registered_all_the_same(tmp_path: Path) -> None:
    old, new = tmp_path / "night-1", tmp_path / "best"
    one, other = trial(1, "waving"), trial(2, "jumping")
    ledger = Ledger(old / "ledger")
    _finish(ledger, one, old / "runs" / one.short, 1)
    _finish(ledger, other, old / "runs" / other.short, 2)
    (old / "runs" / other.short / "store").rename(tmp_path / "elsewhere")
    old.rename(new)
    found = publish_results(
        Ledger(new / "ledger"), lambda each: new / "runs" / each.short, new, str(new / "store"), ""
    )
    assert [each.reference for each in found.registered] == ["waving@1"]
    [problem] = found.problems
    assert str(old) in str(problem)  # the record's own place, where there is no other
