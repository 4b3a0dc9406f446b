"""Tables of rows that were made up so that every number can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motion_ray.evaluation.copying import NearestFrame
from motion_ray.evaluation.measurement import Measurement, Part, Question, Scores
from motion_ray.evaluation.scoreboard import (
    COPYING_ANY,
    COPYING_FIRST,
    DIVERSITY,
    EVERY_MOTION,
    MEANS,
    RATES,
    compare,
    compare_with_base,
    group_rows,
    score_rows,
)

LOOK = ("robot", "red", "at night")


def row(
    prompt: int,
    seed: int,
    said: str = "dabbing",
    *,
    part: Part = Part.CUSTOMIZED,
    motion: str = "dabbing",
    reference: str = "dabbing@1",
    appearance: float = 0.5,
    copy: float | None = None,
    first: float | None = None,
    embedding: tuple[float, ...] = (1.0, 0.0),
    training_seed: int = 0,
    seen: tuple[str, str, str] = LOOK,
) -> Measurement:
    """A video that was asked to look as LOOK says."""
    reference = reference if part is Part.CUSTOMIZED else ""
    kind, colour, place = LOOK
    asked = Question(
        *(part, motion, motion, prompt, seed, f"prompt {prompt}"),
        reference=reference,
        delta=reference,
        training_seed=training_seed,
        kind=kind,
        colour=colour,
        place=place,
    )
    kind, colour, place = seen
    scores = Scores(
        *(said, (1.0,), "waving", said, embedding, 0.9),
        appearance=appearance,
        alignment=appearance / 2,
        copy_any=None if copy is None else NearestFrame(copy, 0, 0, 1),
        copy_first=None if first is None else NearestFrame(first, 0, 0, 0),
        seen_kind=kind,
        seen_colour=colour,
        seen_place=place,
    )
    return Measurement(asked, scores)


def broken(prompt: int, seed: int) -> Measurement:
    return Measurement(row(prompt, seed).question, None, "no memory")


def test_scores_by_hand() -> None:
    rows = [
        row(0, 0, appearance=0.2, seen=("bear", "blue", "at night")),
        row(0, 1, "waving", appearance=0.4, embedding=(0.0, 1.0), seen=("bear", "red", "at sea")),
        row(1, 0, appearance=0.6, seen=("robot", "blue", "at night")),
        row(1, 1, appearance=0.8, embedding=(0.6, 0.8), seen=("robot", "blue", "at night")),
    ]
    found = score_rows(rows, None)
    assert found["motion accuracy"].value == pytest.approx(3 / 4)
    assert found["accuracy reversed"].value == 0.0
    assert found["accuracy shuffled"].value == pytest.approx(3 / 4)
    assert found["CLIP appearance"].value == pytest.approx(0.5)
    assert found["text alignment"].value == pytest.approx(0.25)
    assert found["temporal consistency"].value == pytest.approx(0.9)
    looks = {name: found[name].value for name in ("kind", "colour", "place")}
    assert looks == pytest.approx({"kind": 2 / 4, "colour": 1 / 4, "place": 3 / 4})
    # Cosines between the two seeds of a prompt: 0 and 0.6.
    assert found[DIVERSITY].value == pytest.approx((1.0 + 0.4) / 2)
    assert (found["motion accuracy"].videos, found["motion accuracy"].clusters) == (4, 2)
    assert "motion fidelity" not in found and COPYING_ANY not in found


def test_a_look_that_was_not_asked_for_is_not_scored() -> None:
    measured = row(0, 0)
    asked = replace(measured.question, colour="")
    found = score_rows([replace(measured, question=asked)], None)
    assert "kind" in found and "place" in found and "colour" not in found


def test_a_failed_video_counts_as_not_recognised_and_is_told() -> None:
    [group] = group_rows([row(0, 0), row(1, 0), broken(2, 0), broken(3, 0)], None)
    assert (group.videos, group.failed) == (4, 2)
    assert group.scores["motion accuracy"].value == 0.5
    assert group.scores["accuracy shuffled"].value == 0.5  # of the same videos
    assert group.scores["CLIP appearance"].videos == 2


def test_groups_are_deltas_motions_and_all_together() -> None:
    rows = [row(0, 0), row(0, 0, "waving", motion="drumming", reference="drumming@2")]
    rows += [row(0, 0, part=Part.BASE), row(0, 0, part=Part.REAL)]
    groups = {(each.part, each.name): each for each in group_rows(rows, None)}
    assert set(groups) == {
        (Part.CUSTOMIZED, "dabbing@1"),
        (Part.CUSTOMIZED, "drumming@2"),
        (Part.CUSTOMIZED, EVERY_MOTION),
        (Part.BASE, "dabbing"),
        (Part.REAL, "dabbing"),
    }
    assert groups[Part.CUSTOMIZED, EVERY_MOTION].scores["motion accuracy"].value == 0.5


# --- copying --------------------------------------------------------------------------------------


def test_copying_counts_videos_above_the_threshold_if_the_control_is_clean() -> None:
    rows = [row(k, 0, copy=0.3 if k < 3 else 0.1, first=0.3 if k < 1 else 0.1) for k in range(8)]
    control = [row(k, 0, part=Part.REAL, copy=0.2, first=0.2) for k in range(20)]
    [ours, real] = group_rows([*rows, *control], 0.25)
    assert ours.scores[COPYING_ANY].value == pytest.approx(3 / 8)
    assert ours.scores[COPYING_FIRST].value == pytest.approx(1 / 8)
    assert real.scores[COPYING_ANY].value == 0.0 and not ours.refused


def test_copying_is_refused_if_unrelated_clips_count_as_copies() -> None:
    rows = [row(k, 0, copy=0.3) for k in range(8)]
    control = [row(k, 0, part=Part.REAL, copy=0.3 if k < 2 else 0.1) for k in range(20)]
    ours = group_rows([*rows, *control], 0.25)[0]
    assert COPYING_ANY not in ours.scores
    assert "10.0% of real clips" in ours.refused[COPYING_ANY]


def test_copying_is_not_refused_if_just_one_unrelated_clip_of_20_counts_as_a_copy() -> None:
    """That is 5 %, and not more; of any frames two do, and only that is refused."""
    rows = [row(k, 0, copy=0.3, first=0.3 if k < 2 else 0.1) for k in range(8)]
    control = [
        row(k, 0, part=Part.REAL, copy=0.3 if k < 2 else 0.1, first=0.3 if k < 1 else 0.1)
        for k in range(20)
    ]
    ours = group_rows([*rows, *control], 0.25)[0]
    assert list(ours.refused) == [COPYING_ANY]
    assert ours.scores[COPYING_FIRST].value == pytest.approx(2 / 8)


def test_copying_is_refused_without_a_control() -> None:
    [ours] = group_rows([row(0, 0, copy=0.3, first=0.3)], 0.25)
    assert COPYING_ANY not in ours.scores and "no real clips" in ours.refused[COPYING_FIRST]


def test_copying_of_all_motions_is_refused_with_that_of_one() -> None:
    """A motion without a control is 1 of 25: the others' would hide it."""
    rows = [row(k, 0, copy=0.1) for k in range(20)]
    rows += [row(k, 0, copy=0.1, part=Part.REAL) for k in range(20)]
    rows += [row(0, 0, copy=0.3, motion="drumming", reference="drumming@1")]
    mine = [each for each in group_rows(rows, 0.25) if each.part is Part.CUSTOMIZED]
    groups = {each.name: each for each in mine}
    assert not groups["dabbing@1"].refused
    assert groups[EVERY_MOTION].refused[COPYING_ANY].startswith("drumming: there are no real clips")


# --- comparisons ----------------------------------------------------------------------------------


def test_two_settings_are_compared_on_the_same_videos_with_holms_correction() -> None:
    ours = [row(k, 0, appearance=0.5) for k in range(6)]
    theirs = [row(k, 0, "waving", appearance=0.4 + 0.2 * (k % 2)) for k in range(6)]
    metrics = {
        "motion accuracy": RATES["motion accuracy"],
        "CLIP appearance": MEANS["CLIP appearance"],
    }
    found = {each.metric: each for each in compare([("a", ours, "b", theirs)], metrics)}
    accuracy, appearance = found["motion accuracy"], found["CLIP appearance"]
    assert accuracy.difference.estimate.value == 1.0
    assert accuracy.difference.p == pytest.approx(2 / 2**6)
    assert accuracy.corrected == pytest.approx(2 * 2 / 2**6)
    assert appearance.difference.estimate.value == pytest.approx(0.0)
    assert appearance.corrected == pytest.approx(1.0)


def test_every_delta_is_compared_with_the_base() -> None:
    rows = [row(k, 0) for k in range(6)]
    rows += [row(k, 0, "waving", part=Part.BASE) for k in range(6)]
    rows += [row(k, 0, motion="drumming", reference="drumming@1") for k in range(6)]  # no base
    found = compare_with_base(rows)
    assert {(each.first, each.metric) for each in found} == {
        ("dabbing@1", "motion accuracy"),
        ("dabbing@1", "CLIP appearance"),
        ("dabbing@1", "text alignment"),
    }
    assert found[0].difference.estimate.value == 1.0


def test_a_score_that_no_video_of_both_has_is_not_compared() -> None:
    rows = [broken(k, 0) for k in range(3)]
    rows += [row(k, 0, "waving", part=Part.BASE) for k in range(3)]
    [found] = compare_with_base(rows)
    assert found.metric == "motion accuracy" and found.difference.estimate.value == 0.0


def test_versions_of_other_clips_have_controls_of_their_own() -> None:
    def trained_on(clips: str, *rows: Measurement) -> list[Measurement]:
        return [replace(r, question=replace(r.question, training=clips)) for r in rows]

    rows = trained_on("ten", row(0, 0), row(0, 0, "waving", part=Part.BASE))
    rows += trained_on("five", row(0, 0, reference="dabbing@2"), row(0, 0, part=Part.BASE))
    found = {e.first: e for e in compare_with_base(rows) if e.metric == "motion accuracy"}
    assert found["dabbing@1"].difference.estimate.value == 1.0
    assert found["dabbing@2"].difference.estimate.value == 0.0
    names = {each.name for each in group_rows(rows, None) if each.part is Part.BASE}
    assert names == {"dabbing (ten)", "dabbing (five)", EVERY_MOTION}


def test_a_setting_with_two_videos_for_a_pair_is_refused() -> None:
    twice = [row(0, 0, training_seed=seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="several videos"):
        compare([("a", twice, "b", [row(0, 0)])], {"right": RATES["motion accuracy"]})
