"""From rows to scores, matched appearance and curves, on invented looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.claims import Word
from motion_ray.reproduction.experiment import ACCURACY, FIRST, LAST
from motion_ray.reproduction.findings import Findings
from tests.reproduction.samples import PROMPTS, THRESHOLD, controls, judged, look, row

OURS, THEIRS = Cell("ours", "dabbing", 0), Cell("dreambooth", "dabbing", 0)


def test_a_table_takes_the_results_and_not_what_was_on_the_way():
    looks = [look(OURS, 100, 3, final=False), look(OURS, 200, 27)]
    group = Findings(looks, controls("dabbing")).group("ours")
    assert group is not None and group.videos == PROMPTS
    assert group.scores["motion accuracy"].value == pytest.approx(0.9)


def test_matched_looks_keep_the_same_appearance_and_have_learned_longest():
    """Ours falls to 0.70 and theirs to 0.78 only: next to 0.78, ours is the look of step 200."""
    looks = [
        look(OURS, 100, 5, appearance=0.82, final=False),
        look(OURS, 200, 15, appearance=0.775, final=False),
        look(OURS, 300, 30, appearance=0.70),
        look(THEIRS, 100, 2, appearance=0.81, final=False),
        look(THEIRS, 200, 4, appearance=0.78),
        look(Cell("spatial-none", "dabbing", 0), 200, 4, appearance=0.82),
    ]
    found, both = Findings(looks, controls("dabbing")), ("ours", "dreambooth")
    assert sum(r.right for r in found.rows("ours")) == 30
    assert sum(r.right for r in found.rows("ours", both)) == 15
    assert sum(r.right for r in found.rows("dreambooth", both)) == 4
    verdicts = {v.claim.text: v for v in judged(found, "table1")}
    verdict = verdicts[
        "ours has a higher motion accuracy than DreamBooth, at matched appearance (section 4.1)"
    ]
    assert verdict.because.endswith(
        "(30 pairs, training seed 0, of 1 trainings each at appearance 0.775 and 0.780)"
    )


def test_of_matched_looks_those_that_learned_longest_wherever_appearance_is_least():
    """Appearance does not fall all the way; a look without any score keeps nothing."""
    looks = [
        look(OURS, 100, 1, appearance=0.75, final=False),
        look(OURS, 200, 2, appearance=0.0, final=False),
        look(OURS, 300, 3, appearance=0.78),
        look(THEIRS, 50, 4, appearance=0.75, final=False),
        look(THEIRS, 100, 5, appearance=0.775),
    ]
    looks[1] = replace(
        looks[1], rows=tuple(Measurement(r.question, None, "no memory") for r in looks[1].rows)
    )
    found = Findings(looks, controls("dabbing")).matched(("ours", "dreambooth"))
    assert [each.step for each in (*found["ours"], *found["dreambooth"])] == [300, 100]


def test_curves_and_ends():
    looks = [
        look(OURS, 100, 5, appearance=0.82, final=False),
        look(OURS, 300, 30, appearance=0.70, copies=20),
    ]
    found = Findings(looks, controls("dabbing"), threshold=THRESHOLD)
    points = found.curve("ours")
    assert [point.step for point in points] == [100, 300]
    assert points[1].scores["CLIP appearance"].value == pytest.approx(0.70)
    assert sum(r.right for r in found.rows(FIRST)) == 5
    assert sum(r.right for r in found.rows(LAST)) == 30
    verdicts = judged(found, "fig7")
    assert [v.word for v in verdicts] == [Word.REPRODUCED] * 3


def test_a_cell_that_was_stopped_stays_in_the_curve():
    stopped = Cell("ours", "drumming", 0)
    looks = [
        look(OURS, 100, 15, final=False),
        look(OURS, 200, 30),
        look(stopped, 100, 0, appearance=0.7),
    ]
    points = Findings(looks, [*controls("dabbing"), *controls("drumming")]).curve("ours")
    assert [point.scores[ACCURACY].value for point in points] == pytest.approx([0.25, 0.5])


def test_rows_in_a_scene_are_ours_or_drawn_and_kinds_are_part_of_the_usual_prompts():
    def rows_of(part: Part, rights: int) -> list[Measurement]:
        return [row("dabbing", n, right=n < rights, part=part) for n in range(PROMPTS)]

    def of_kind(rows: Sequence[Measurement], kind: str) -> list[Measurement]:
        return [replace(r, question=replace(r.question, kind=kind)) for r in rows]

    seen = look(OURS, 1, 24)
    rows = [*of_kind(seen.rows[:12], "person"), *of_kind(seen.rows[12:], "crab")]
    found = Findings(
        [replace(seen, rows=tuple(rows))],
        [*controls("dabbing")[:PROMPTS], *of_kind(rows_of(Part.REAL, PROMPTS), "crab")],
        staged={"ours, slowly": rows_of(Part.CUSTOMIZED, 6)},
        drawn={"slowly": rows_of(Part.REAL, 30)},
    )

    def accuracy(name: str, drawn: bool = False) -> float | None:
        seen = found.drawn_of(name) if drawn else found.in_scene("ours", name)
        estimate = found.estimate(seen, ACCURACY)
        return None if estimate is None else estimate.value

    assert accuracy("") == pytest.approx(24 / 30)
    assert accuracy("person") == 1.0 and accuracy("crab") == pytest.approx(12 / 18)
    assert accuracy("slowly") == pytest.approx(0.2) and accuracy("slowly", drawn=True) == 1.0
    assert accuracy("crab", drawn=True) == 1.0 and accuracy("person", drawn=True) is None
    assert accuracy("quickly") is None
    words = {v.claim.text: v.word for v in judged(found, "beyond")}
    assert words["the motion is kept in the scene 'slowly': accuracy above 50%"] is Word.NOT
    assert words["the motion is kept in the scene 'quickly': accuracy above 50%"] is Word.NOT_RUN
