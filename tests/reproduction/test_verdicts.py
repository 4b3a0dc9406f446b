"""What is said about claims, and why nothing is, on invented looks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.evaluation.scoreboard import COPYING_FIRST
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.claims import Word
from motion_ray.reproduction.experiment import BASE, COPYING, JUMPING, KICKING
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.record import Failed
from tests.reproduction.samples import PROMPTS, THRESHOLD, controls, judged, look, row

OURS, THEIRS = Cell("ours", "dabbing", 0), Cell("dreambooth", "dabbing", 0)


def test_without_looks_of_one_appearance_nothing_is_compared():
    looks = [look(OURS, 300, 30, appearance=0.75), look(THEIRS, 200, 4, appearance=0.78)]
    found = Findings(looks, controls("dabbing"))
    verdicts = judged(found, "table1")
    because = {v.because for v in verdicts if "matched" in v.claim.text}
    assert "ours: no looks of all keep the same appearance" in because
    assert not any(v.estimate for v in verdicts if "matched" in v.claim.text)


def test_copying_is_refused_where_real_clips_count_as_copies_too():
    theirs = look(Cell("spatial-all", "dabbing", 0), 1, 5, copies=20)
    looks = [look(OURS, 1, 5, copies=3, firsts=2), theirs]
    sound = Findings(looks, controls("dabbing"), threshold=THRESHOLD)
    assert judged(sound, "table2a")[1].word is Word.REPRODUCED
    group = sound.group("ours")
    assert group is not None and group.scores[COPYING].value == pytest.approx(3 / 30)
    assert group.scores[COPYING_FIRST].value == pytest.approx(2 / 30)
    wrong = Findings(looks, controls("dabbing", copies=9), threshold=THRESHOLD)
    verdict = judged(wrong, "table2a")[1]
    assert verdict.word is Word.NOT_RUN and "count as copies" in verdict.because


def test_without_a_detector_copying_is_not_run():
    looks = [look(OURS, 1, 5), look(Cell("spatial-all", "dabbing", 0), 1, 5)]
    verdict = judged(Findings(looks, controls("dabbing")), "table2a")[1]
    assert verdict.word is Word.NOT_RUN and "was not run" in verdict.because


def test_the_base_in_words():
    motions = ("dabbing", "drumming", "swiping down")
    rows = [row for motion in motions for row in controls(motion)]
    found = Findings(controls=rows)
    [verdict] = judged(found, "appendix-d")
    assert verdict.word is Word.REPRODUCED
    assert len(found.rows(BASE)) == PROMPTS * len(motions)


def test_a_method_that_cannot_be_trained_says_why():
    failed = [Failed(THEIRS, "the loss is nan")]
    found = Findings([look(OURS, 1, 5)], controls("dabbing"), failed)
    verdicts = judged(found, "table1")
    because = {v.because for v in verdicts if "dreambooth" in v.claim.methods}
    assert because == {"dreambooth: the loss is nan"}


def test_what_is_to_come_is_told_first_and_motions_without_it_are_named():
    """One training failed, another is to come, and of one motion there is nothing yet."""
    late = [Cell("dreambooth", "drumming", 0), Cell("ours", "drumming", 0)]
    failed = [Failed(THEIRS, "the loss is nan")]
    found = Findings([look(OURS, 1, 5)], controls("dabbing"), failed, to_come=late)
    because = {v.because for v in judged(found, "table1") if "dreambooth" in v.claim.methods}
    assert because == {"dreambooth: it is not trained yet"}
    learned = [look(OURS, 1, 30), look(THEIRS, 1, 0)]
    verdict = judged(replace(found, looks=learned, failed=()), "table1")[2]
    assert verdict.word is Word.REPRODUCED
    assert "without drumming, of which there is nothing to compare" in verdict.because
    crabs = look(OURS, 1, 30)
    rows = [replace(r, question=replace(r.question, kind="crab")) for r in crabs.rows]
    kinds = judged(replace(found, looks=[replace(crabs, rows=tuple(rows))]), "beyond")
    [limit] = [v for v in kinds if "to a crab" in v.claim.text]
    assert limit.word is Word.REPRODUCED
    assert limit.because.endswith("(without drumming, of which there is nothing to compare)")


def test_methods_are_paired_by_motion_prompt_and_seed():
    """Two motions and two seeds, of which theirs has one: only what both have is compared."""
    cells = [Cell("ours", motion, seed) for motion in ("dabbing", "drumming") for seed in (0, 1)]
    looks = [look(cell, 1, 30) for cell in cells]
    looks += [look(Cell("temporal-none", motion, 0), 1, 0) for motion in ("dabbing", "drumming")]
    found = Findings(looks, [*controls("dabbing"), *controls("drumming")])
    [verdict] = judged(found, "table2b")
    assert verdict.estimate is not None
    assert (verdict.estimate.videos, verdict.estimate.clusters) == (2 * PROMPTS, 2 * PROMPTS)
    assert verdict.word is Word.REPRODUCED


def test_a_motion_that_is_hardly_seen_in_drawn_clips_is_no_measure_of_ours():
    def clips(drawn: float) -> list[Measurement]:
        return [
            row("dabbing", n, right=True, part=Part.REAL, appearance=drawn) for n in range(PROMPTS)
        ]

    # any number of a row does: the appearance stands for the probability
    extra = {JUMPING: lambda row: row.scores.appearance, KICKING: lambda row: row.scores.appearance}
    drawn = {"while jumping": clips(0.9), "while kicking": clips(0.81)}
    made = {f"ours, {name}": [row("dabbing", n, right=True) for n in range(30)] for name in drawn}
    found = Findings(
        [look(OURS, 1, 24)], controls("dabbing"), staged=made, drawn=drawn, extra=extra
    )
    because = {v.claim.text: v.because for v in judged(found, "beyond")}
    assert "hardly" not in because["asked for jumping at the same time, videos look more like it"]
    assert because["asked for kicking at the same time, videos look more like it"] == (
        "ours, while kicking: the classifier hardly sees it in drawn clips either (0.810, without "
        "it 0.800)"
    )


def test_what_is_not_seen_in_drawn_clips_says_nothing_about_ours():
    def rows_of(part: Part, rights: int) -> list[Measurement]:
        return [row("dabbing", n, right=n < rights, part=part) for n in range(PROMPTS)]

    found = Findings(
        [look(OURS, 1, 24)],
        controls("dabbing"),
        staged={"ours, while jumping": rows_of(Part.CUSTOMIZED, 6)},
        drawn={"while jumping": rows_of(Part.REAL, 3)},
    )
    because = {v.claim.text: v.because for v in judged(found, "beyond")}
    reason = because["the motion is kept in the scene 'while jumping': accuracy above 50%"]
    assert reason == (
        "ours, while jumping: the evaluators see it in only 10% of drawn clips of the scene"
    )
