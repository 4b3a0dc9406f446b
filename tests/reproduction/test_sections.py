"""What a report's tables say, from invented looks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motion_ray.evaluation.measurement import Measurement, Part
from motion_ray.recipes.puppet import puppet
from motion_ray.reproduction.cells import Cell
from motion_ray.reproduction.claims import Word
from motion_ray.reproduction.experiment import COUNT, JUMPING
from motion_ray.reproduction.experiments import EXPERIMENTS
from motion_ray.reproduction.findings import Findings
from motion_ray.reproduction.record import Failed, Learned, Trained
from motion_ray.reproduction.reproduce import Reproduction
from motion_ray.reproduction.scale import Scale, puppet_scale
from motion_ray.reproduction.section import Section
from motion_ray.reproduction.sections import counted, sections_of
from tests.reproduction.samples import PROMPTS, THRESHOLD, controls, look, row


def sections(findings: Findings, *names: str, scale: Scale | None = None) -> list[Section]:
    experiments = tuple(EXPERIMENTS[name] for name in names)
    scale = scale or puppet_scale(quick=True)
    return sections_of(Reproduction(scale, experiments, findings, {}, {}))


def of_kind(rows: list[Measurement], kind: str) -> list[Measurement]:
    return [replace(r, question=replace(r.question, kind=kind)) for r in rows]


def test_scenes_stand_beside_their_drawn_clips() -> None:
    seen = look(Cell("ours", "dabbing", 0), 1, 24)
    staged = [row("dabbing", n, right=n < 6) for n in range(PROMPTS)]
    drawn = [row("dabbing", n, right=n < 27, part=Part.REAL) for n in range(PROMPTS)]
    findings = Findings(
        [replace(seen, rows=tuple(of_kind(list(seen.rows), "crab")))],
        controls("dabbing"),
        staged={"ours, while jumping": staged},
        drawn={"while jumping": drawn},
        extra={COUNT: lambda row: 1.0, JUMPING: lambda row: 0.25},
    )
    section, _ = sections(findings, "beyond")
    assert not section.papers
    assert section.columns[:3] == ("motion accuracy", COUNT, JUMPING)
    cells = {each.title: each.cells for each in section.rows}
    assert cells["of these, crabs"][0][0].startswith("80.0 %")
    ours, beside = cells["while jumping"][0]
    assert ours.startswith("20.0 %") and beside.startswith("drawn clips: 90.0 %")
    assert cells["while jumping"][1][0].startswith("100.0 %")
    assert cells["while jumping"][2][0].startswith("0.250")
    assert cells["while jumping"][-1] == (str(PROMPTS), "")
    assert cells["slowly"][0] == ("not run", "")


def test_several_methods_stand_beside_each_other_in_a_scene() -> None:
    tune = Cell("tune-a-video", "dabbing", 0)
    findings = Findings(
        [look(Cell("ours", "dabbing", 0), 900, 24), look(tune, 900, 12)],
        controls("dabbing"),
        staged={
            "ours, slowly": [row("dabbing", n, right=n < 21) for n in range(PROMPTS)],
            "tune-a-video, slowly": [row("dabbing", n, right=n < 3) for n in range(PROMPTS)],
        },
    )
    section, *_ = sections(findings, "fig5-scenes")
    cells = {each.title: each.cells[0][0] for each in section.rows}
    assert cells["as in the tables above: ours"].startswith("80.0 %")
    assert cells["as in the tables above: Tune-A-Video"].startswith("40.0 %")
    assert cells["slowly: ours"].startswith("70.0 %")
    assert cells["slowly: Tune-A-Video"].startswith("10.0 %")
    assert len(cells) == 2 * (1 + 4)  # four scenes, and no kinds of puppets
    words = {v.claim.text: v.word for v in section.verdicts}
    slowly = (
        "asked for slowly, our videos show the motion more often than Tune-A-Video's (figure 5)"
    )
    assert words[slowly] is Word.REPRODUCED
    assert Word.NOT_RUN in words.values()  # those of the other scenes


def test_each_training_of_a_headline_method_is_told() -> None:
    scale = replace(puppet_scale(), motions=("dabbing", "drumming"), headline_seeds=(0, 1))
    looks = [look(Cell("ours", "dabbing", seed), 1, 10 + seed) for seed in (0, 1)]
    findings = Findings(looks, controls("dabbing"))
    last = sections(findings, "table2b", scale=scale)[-1]
    assert last.columns == ("dabbing", "drumming")
    assert [(r.title, [ours for ours, _ in r.cells]) for r in last.rows] == [
        ("ours, seed 0", ["10 of 30", "not run"]),
        ("ours, seed 1", ["11 of 30", "not run"]),
    ]
    assert last not in sections(findings, "table2b")  # one training shows no spread
    late = [Cell("ours", "drumming", 0), Cell("temporal-none", "dabbing", 1)]
    more = replace(findings, to_come=late, failed=[Failed(Cell("ours", "drumming", 1), "no")])
    table, *_, last = sections(more, "table2b", scale=replace(scale, seeds=(0, 1)))
    assert [(r.title, [ours for ours, _ in r.cells]) for r in last.rows] == [
        ("ours, seed 0", ["10 of 30", "to come"]),
        ("ours, seed 1", ["11 of 30", "failed"]),
        ("no temporal layers, seed 0", ["not run", "not run"]),
        ("no temporal layers, seed 1", ["to come", "not run"]),
    ]
    assert [each.note for each in table.rows] == [
        "1 of its trainings failed: drumming; 1 of its trainings to come: drumming",
        "1 of its trainings to come: dabbing",
    ]


def test_without_real_clips_the_other_controls_stand_there_and_it_says_so() -> None:
    base = [each for each in controls("dabbing", known=3) if each.question.part is Part.BASE]
    section = sections(Findings([look(Cell("ours", "dabbing", 0), 900, 24)], base), "table2b")[1]
    assert section.note.startswith("No real clips that were not trained on were looked at")
    cells = {each.title: each.cells[0][0][:6] for each in section.rows}
    assert cells == {"base model, asked in words": "10.0 %", "ours": "80.0 %"}


def test_videos_that_could_not_be_made_are_counted_everywhere() -> None:
    def lost(n: int) -> Measurement:
        return replace(row("dabbing", n, right=False), scores=None, failure="no memory")

    seen = look(Cell("ours", "dabbing", 0), 900, 24)
    seen = replace(seen, rows=(*seen.rows[:-2], lost(28), lost(29)))
    findings = Findings([seen], controls("dabbing"), staged={"ours, slowly": [lost(0)]})
    table, beyond, *_ = sections(findings, "table2b", "beyond")
    assert table.rows[0].cells[-1] == ("30, 2 could not be made", "")
    last = {each.title: each.cells[-1][0] for each in beyond.rows}
    assert last["slowly"] == "1, 1 could not be made" and last["quickly"] == "none"


@pytest.mark.parametrize("shuffled", [27, 26])
def test_a_classifier_that_hardly_needs_the_order_of_frames_is_told(shuffled: int) -> None:
    """All real clips are right; from 27 of 30 on the order is called hardly looked at."""
    rows = controls("dabbing")
    real = [n for n, each in enumerate(rows) if each.question.part is Part.REAL]
    for n in real[:shuffled]:
        scores = rows[n].scores
        assert scores is not None and rows[n].right
        rows[n] = replace(rows[n], scores=replace(scores, said_shuffled="dabbing"))
    findings = Findings([look(Cell("ours", "dabbing", 0), 900, 20)], rows)
    note = sections(findings, "table2b")[1].note
    told = "The classifier recognises 90% of real clips with their frames in one random order"
    assert note.startswith(told) if shuffled == 27 else not note


def test_controls_and_where_trainings_ended_stand_in_the_report() -> None:
    cells = [Cell("ours", motion, 0) for motion in ("dabbing", "drumming")]
    findings = Findings(
        [look(cell, 900, 20) for cell in cells],
        [*controls("dabbing", copies=3, firsts=1), *controls("drumming")],
        threshold=THRESHOLD,
    )
    trained = tuple(
        Trained(cell, "", puppet(), {step: Learned("", "", "", "", step)}, stopped)
        for cell, step, stopped in zip(
            cells, (900, 450), ("max_steps", "appearance_floor"), strict=True
        )
    )
    experiments = (EXPERIMENTS["fig7"], EXPERIMENTS["beyond"])
    found = Reproduction(puppet_scale(quick=True), experiments, findings, {}, {}, trained)
    figure, beyond, last = sections_of(found)
    cell = dict(zip(figure.columns, figure.rows[0].cells, strict=True))
    assert cell["steps"] == ("450 to 900", "floor: 1 of 2")
    real = dict(zip(last.columns, (ours for ours, _ in last.rows[0].cells), strict=True))
    assert last.rows[0].title == "real clips that were not trained on"
    assert real["motion accuracy"].startswith("100.0 %")
    assert real["copying, any frame"].startswith("5.0 %")
    assert real["copying, first frames"].startswith("1.7 %")
    assert real["accuracy reversed"].startswith("0.0 %")
    assert [row.title for row in last.rows[1:]] == ["base model, asked in words", "ours"]
    assert (figure.papers, beyond.papers) == (True, False)
    assert counted([figure, beyond]).startswith("Of the paper's claims: ")
