"""Differences with trainings as units, on invented looks and against values by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.claims import CHANCE, Word
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.looking import Look
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.retraining import SURVIVES, Survival, survivals_of
from motion_ray.reproduction.scale import puppet_scale
from motion_ray.reproduction.training_sections import of_retraining
from motion_ray.reproduction.verdicts import observe
from tests.reproduction.samples import controls, judged, look

MOTIONS = ("dabbing", "drumming", "rolling arms", "swiping down", "swinging arms")
Rights = Callable[[int, int], int]
"""Videos that are right, by the number of the motion and the seed."""


def trainings(method: str, rights: Rights, seeds: int = 3) -> list[Look]:
    return [
        look(Cell(method, motion, seed), 1, rights(number, seed))
        for number, motion in enumerate(MOTIONS)
        for seed in range(seeds)
    ]


def findings(ours: Rights, theirs: Rights, other: str = "temporal-none", seeds: int = 3):
    rows = [row for motion in MOTIONS for row in controls(motion)]
    looks = [*trainings("ours", ours), *trainings(other, theirs, seeds)]
    return Findings(looks, rows)


def survivals(findings: Findings, experiment: str) -> list[Survival]:
    experiments = [EXPERIMENTS[experiment]]
    return survivals_of(experiments, observe(findings, experiments))


def test_fifteen_trainings_that_agree_survive():
    """The smallest p that fifteen signs allow."""
    [found] = survivals(findings(lambda m, s: 20 + s, lambda m, s: 10 + s), "table2b")
    assert (found.better, found.worse, found.trainings) == (15, 0, 15)
    assert found.p == pytest.approx(2 / 2**15)
    assert found.estimate.value == pytest.approx(10 / 30)
    # Every training says the same, so other trainings would.
    assert found.estimate.low == pytest.approx(found.estimate.high)
    assert found.word == SURVIVES


def test_what_one_training_alone_shows_is_sure_of_its_prompts_only():
    """All videos of one motion and seed differ, no others: prompts agree, trainings do not."""
    found = findings(lambda m, s: 30 if m == s == 0 else 12, lambda m, s: 0 if m == s == 0 else 12)
    [verdict] = judged(found, "table2b")
    assert verdict.word is Word.REPRODUCED
    [survival] = survivals(found, "table2b")
    assert (survival.better, survival.worse, survival.trainings) == (1, 0, 15)
    assert survival.p == 1.0 and survival.word == CHANCE


def test_trainings_that_contradict_each_other_may_be_chance():
    def ours(motion: int, seed: int) -> int:
        return 18 if (motion + seed) % 2 else 10

    [found] = survivals(findings(ours, lambda m, s: 13), "table2b")
    assert (found.better, found.worse) == (7, 8)
    assert found.p is not None and found.p > 0.2 and found.word == CHANCE


def test_the_opposite_and_less_than_claimed():
    worse = findings(lambda m, s: 5, lambda m, s: 15, "dreambooth")
    words = {each.claim.text: each for each in survivals(worse, "table1")}
    plain = "ours has a higher motion accuracy than DreamBooth (section 4.1)"
    times = "ours has at least twice the motion accuracy of DreamBooth (section 4.1)"
    assert words[plain].word == "no: the opposite holds" and words[plain].worse == 15
    assert words[times].word == "no: it is less than that"


def test_p_is_corrected_over_the_claims_that_have_enough_trainings():
    """Two other methods were trained once a motion: five signs can show nothing."""
    found = findings(lambda m, s: 20, lambda m, s: 10, "dreambooth")
    once = [
        each
        for name in ("custom-diffusion", "textual-inversion")
        for each in trainings(name, lambda m, s: 0, seeds=1)
    ]
    every = survivals(replace(found, looks=[*found.looks, *once]), "table1")
    tested = [each for each in every if each.p is not None]
    assert {method for each in tested for method in each.claim.methods} == {"ours", "dreambooth"}
    assert len(every) > len(tested)
    assert all(each.trainings == 5 and not each.word for each in every if each.p is None)
    # Twice theirs is as many as ours, in every training: two of five claims, one of them at matched
    # appearance. The others are a higher accuracy, the same at matched appearance, text alignment.
    assert sorted(each.p for each in tested) == pytest.approx([5 * 2 / 2**15] * 3 + [1.0] * 2)


def test_a_training_is_one_number_however_many_videos_are_behind_it():
    """Of one training 29 videos are missing: its one difference of -1 weighs as others do."""

    def lone(seen: Look) -> Look:
        kept = seen.rows[:1] if (seen.cell.motion, seen.cell.seed) == (MOTIONS[0], 0) else seen.rows
        return replace(seen, rows=kept)

    found = findings(lambda m, s: 0 if m == s == 0 else 15, lambda m, s: 1 if m == s == 0 else 0)
    looks = [lone(each) for each in found.looks]
    [survival] = survivals(replace(found, looks=looks), "table2b")
    assert (survival.better, survival.worse) == (14, 1)
    assert survival.estimate.value == pytest.approx(((-1 + 0.5 + 0.5) / 3 + 4 * 0.5) / 5)


def test_motions_weigh_the_same_however_often_they_were_trained():
    """One motion was trained once, with a difference of 30 of 30; the others thrice, with 3."""
    found = findings(lambda m, s: 30 if m == 0 else 10, lambda m, s: 0 if m == 0 else 7)
    kept = [each for each in found.looks if each.cell.motion != MOTIONS[0] or not each.cell.seed]
    [survival] = survivals(replace(found, looks=kept), "table2b")
    assert survival.trainings == 13
    assert survival.estimate.value == pytest.approx((1 + 4 * 0.1) / 5)
    assert survival.to_dict()["estimate"]["low"] is None  # one training tells no spread


def test_the_report_tells_them_and_how_many_cannot_be_told():
    found = findings(lambda m, s: 20 + s, lambda m, s: 10, "dreambooth")
    looks = [*found.looks, *trainings("custom-diffusion", lambda m, s: 5, seeds=1)]
    experiments = (EXPERIMENTS["table1"],)
    told = Reproduction(puppet_scale(), experiments, replace(found, looks=looks), {}, {})
    [section] = of_retraining(told)
    assert not section.papers
    row = section.rows[0]
    assert row.title == "ours has a higher motion accuracy than DreamBooth (section 4.1)"
    assert not row.note  # all five motions are there
    difference, better, worse, _, word = (cell for cell, _ in row.cells)
    assert difference.startswith("0.367 (") and (better, worse) == ("15 of 15", "0")
    assert word == SURVIVES
    assert section.note.endswith("fewer than 6 trainings, too few: 5.")
    four = replace(found, looks=[e for e in found.looks if e.cell.motion != "dabbing"])
    [section] = of_retraining(Reproduction(puppet_scale(), experiments, four, {}, {}))
    assert section.rows[0].note == "without dabbing"
    once = replace(found, looks=[each for each in found.looks if not each.cell.seed])
    assert not of_retraining(Reproduction(puppet_scale(), experiments, once, {}, {}))
