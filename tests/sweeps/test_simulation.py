"""The simulated sweep: what can be computed by hand, and what failures may not change."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from benchmarks.imagined_courses import ImaginedCourses
from benchmarks.sweep_check import compare
from benchmarks.sweep_simulation import Simulation, Site, Work
from motion_ray.cluster.runs import run_folder
from motion_ray.customization.run import RunFolder
from motion_ray.errors import DataError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.spec import PolicySettings
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial
from motion_ray.types import StepDone
from tests.sweeps.samples import result, trial

PLAIN = Site(
    slots=3,
    per_node=1,
    cold_seconds=20.0,
    warm_seconds=5.0,
    validation_seconds=10.0,
    save_seconds=2.0,
    publish_seconds=7.0,
)


def work(number: int, steps: int = 100, broken: int | None = None) -> Work:
    one = trial(number)
    config = one.config.replace(
        {"max_steps": 100, "checkpoint_every": 25, "validation": {"every": 50}}
    )
    return Work(dataclasses.replace(one, config=config), steps, 1.0, broken)


# 100 steps, validations at 0, 50 and 100, checkpoints at 0, 25, 50, 75 and 100, then publishing
ALONE = 100 * 1.0 + 3 * 10.0 + 5 * 2.0 + 7.0


def test_without_failures_the_time_is_that_of_waves() -> None:
    before = set(MemoryFileSystem.store)
    simulation = Simulation([work(n) for n in range(7)], PLAIN)
    account = simulation.run()
    assert account.ended == pytest.approx(20 + ALONE + 2 * (5 + ALONE))  # three, three, one
    assert account.useful == pytest.approx(7 * ALONE)
    assert account.starting == pytest.approx(3 * 20 + 4 * 5)
    assert (account.lost, account.failures, len(account.results)) == (0.0, 0, 7)
    simulation.forget()
    assert set(MemoryFileSystem.store) == before
    share = 1 - simulation.idle_share()  # the desk counts from the first step on
    assert share == pytest.approx(account.useful / (3 * account.ended), abs=0.01)


def test_failures_lose_work_but_no_result() -> None:
    site = dataclasses.replace(PLAIN, node_mtbf=600.0, repair_seconds=50.0, detect_seconds=5.0)
    simulation = Simulation([work(n) for n in range(30)], site, seed=1)
    account = simulation.run()
    assert account.failures > 3 and account.lost > 0
    statuses = simulation.statuses().values()
    assert all(status.state is TrialState.FINISHED for status in statuses)
    assert sum(status.attempts for status in statuses) > 30
    assert len(account.results) == 30
    # What is saved is never done again: the useful work is that of a sweep without failures.
    assert account.useful == pytest.approx(30 * ALONE)


def test_a_node_that_always_dies_before_a_checkpoint_ends_its_trials() -> None:
    site = dataclasses.replace(
        PLAIN, slots=1, node_mtbf=1e-3, repair_seconds=1.0, detect_seconds=0.5
    )
    simulation = Simulation([work(1)], site, retries=2)
    simulation.run()
    [status] = simulation.statuses().values()
    assert status.state is TrialState.FAILED
    assert status.reason == "given up after 3 lost attempts: its node was lost"


def test_a_broken_trial_is_not_tried_again_and_stops_no_other() -> None:
    simulation = Simulation([work(1, broken=30), work(2)], PLAIN)
    account = simulation.run()
    first, second = simulation.statuses().values()
    assert (first.state, first.attempts) == (TrialState.FAILED, 1)
    assert second.state is TrialState.FINISHED
    assert account.failed == pytest.approx(5 * 1.0 + 2.0)  # since the checkpoint of step 25


def test_the_policy_saves_time_and_keeps_the_best() -> None:
    def run(review: bool) -> tuple[float, float]:
        works = [work(n) for n in range(24)]
        works = [
            dataclasses.replace(
                each,
                trial=dataclasses.replace(
                    each.trial,
                    motion=f"{n % 4}",
                    config=each.trial.config.replace(
                        {"max_steps": 1000, "validation": {"every": 100}}
                    ),
                ),
                steps=1000,
            )
            for n, each in enumerate(works)
        ]
        motions = {each.trial.identity: each.trial.motion for each in works}
        courses = ImaginedCourses(motions, 1000, PolicySettings(), seed=2)
        site = dataclasses.replace(PLAIN, slots=12)
        account = Simulation(works, site, review=courses.review if review else None).run()
        return account.useful, courses.best_kept() if review else math.nan

    without, _ = run(review=False)
    with_policy, kept = run(review=True)
    assert with_policy < 0.9 * without  # of slots' time; the last trial may end as late as ever
    assert kept == 1.0


def _played(root: Path, step: float) -> None:
    """A record as a real sweep in two slots leaves it: eight trials, one after another."""
    now = [1000.0]
    ledger = Ledger(root / "ledger", clock=lambda: now[0])
    trials = [trial(number) for number in range(8)]
    ledger.add(trials)
    for pair in range(4):
        both = trials[2 * pair : 2 * pair + 2]
        for slot, one in enumerate(both):
            ledger.start(one.identity, where=f"node slot-{slot} (1)")
            _metrics(root, one, step)
        now[0] += 3.0 + 10 * step  # a start, and ten steps
        for one in both:
            ledger.finish(one.identity, 1, result(step=10), seconds=0.0)
        now[0] += 0.5  # until the slots are given the next


def _metrics(root: Path, one: Trial, step: float) -> None:
    run = RunFolder(run_folder(root / "runs", one))
    run.root.mkdir(parents=True)
    for number in range(1, 11):
        run.log(StepDone(number, 0.2, {"motion": 0.2}, 1e-3, 0.1, step))


def test_a_regular_sweep_is_predicted_exactly(tmp_path: Path) -> None:
    _played(tmp_path, step=2.0)
    found = compare(tmp_path)
    assert (found.trials, found.site.slots) == (8, 2)
    assert found.real == pytest.approx(4 * 23.0 + 3 * 0.5)
    assert found.site.warm_seconds == pytest.approx(3.5)
    assert found.simulated == pytest.approx(found.real)


def test_a_folder_without_finished_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no two trials"):
        compare(tmp_path)
