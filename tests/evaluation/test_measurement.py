"""Rows keep every bit on their way to disk and back, and a killed evaluation loses none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from motion_ray.errors import RunFolderError
from motion_ray.evaluation.copying import NearestFrame
from motion_ray.evaluation.measurement import Measurement, Part, Question, Scores
from motion_ray.evaluation.measurement_files import (
    PARTS,
    TABLE,
    MeasurementFolder,
    read_table,
    write_table,
)

MODELS = {"base": "ab" * 32, "sampling": {"steps": 15, "guidance": 3.0}, "classes": ["a", "b"]}


def question(prompt: int = 0, seed: int = 0, **changes: object) -> Question:
    asked = Question(
        part=Part.CUSTOMIZED,
        motion="dabbing",
        label="dabbing",
        prompt=prompt,
        seed=seed,
        text="a red robot doing the pll",
        appearance_text="a red robot",
        natural_text="a red robot dabbing",
        reference="dabbing@1",
        delta="cd" * 32,
        recipe="ours",
        step=400,
        training_seed=3,
        training="ef" * 32,
        kind="robot",
        colour="red",
        place="at night",
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


SCORES = Scores(
    said="dabbing",
    probabilities=(0.1, 1 / 3, 0.5666666666666667),
    said_reversed="waving",
    said_shuffled="dabbing",
    embedding=(0.6, 0.8),
    consistency=0.987654321,
    appearance=0.1 + 0.2,
    alignment=0.25,
    fidelity=-0.125,
    copy_any=NearestFrame(0.7, 1, 2, 3),
    copy_first=NearestFrame(0.4, 0, 9, 0),
    seen_kind="robot",
    seen_colour="blue",
    seen_place="at night",
)
BARE = Scores("waving", (1.0,), "waving", "waving", (1.0,), 1.0)
ROWS = [
    Measurement(question(0), SCORES),
    Measurement(question(1, training_seed=None, kind=""), BARE),
    Measurement(question(2), None, "OutOfMemoryError: no memory"),
]


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", ROWS, MODELS)
    rows, measured_with = read_table(tmp_path / "a.parquet")
    assert rows == ROWS and measured_with == MODELS


def test_any_reader_of_parquet_finds_plain_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", ROWS, MODELS)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column("copy_any_score").to_pylist() == [0.7, None, None]
    assert table.column("copy_any_clip").to_pylist() == [2, None, None]
    assert table.column("part").to_pylist() == ["customized"] * 3
    assert table.column("probabilities").to_pylist()[2] is None


def test_a_row_has_either_scores_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either"):
        Measurement(question(), None)
    with pytest.raises(ValueError, match="either"):
        Measurement(question(), SCORES, "but it failed")
    assert Measurement(question(), SCORES).right
    assert not Measurement(question(label="waving"), SCORES).right
    assert not ROWS[2].right


def test_what_was_added_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    folder = MeasurementFolder(tmp_path, MODELS)
    folder.add(ROWS[:1])
    folder.add(ROWS[1:])
    again = MeasurementFolder(tmp_path, MODELS)  # nothing was closed
    assert again.of(row.question for row in ROWS) == ROWS
    assert again.of([question(7), ROWS[1].question]) == [ROWS[1]]
    assert again.close() == tmp_path / TABLE
    assert not (tmp_path / PARTS).exists()
    assert MeasurementFolder(tmp_path, MODELS).of(row.question for row in ROWS) == ROWS


def test_a_kill_while_the_table_is_closed_leaves_no_row_twice(tmp_path: Path) -> None:
    folder = MeasurementFolder(tmp_path, MODELS)
    folder.add(ROWS)
    shutil.copytree(tmp_path / PARTS, tmp_path / "kept")
    folder.close()
    (tmp_path / "kept").rename(tmp_path / PARTS)  # the table is there, the parts not removed yet
    again = MeasurementFolder(tmp_path, MODELS)
    assert again.of(row.question for row in ROWS) == ROWS
    again.close()
    assert pq.read_table(tmp_path / TABLE).num_rows == len(ROWS)


def test_a_better_row_takes_the_place_of_a_failed_one(tmp_path: Path) -> None:
    folder = MeasurementFolder(tmp_path, MODELS)
    folder.add(ROWS)
    folder.close()
    folder.add([Measurement(ROWS[2].question, BARE)])
    again = MeasurementFolder(tmp_path, MODELS)
    assert again.of([ROWS[2].question])[0].scores == BARE


def test_the_same_video_by_a_new_name_is_not_made_again(tmp_path: Path) -> None:
    folder = MeasurementFolder(tmp_path, MODELS)
    folder.add(ROWS[:1])
    renamed = question(0, reference="dabbing@2")
    assert folder.of([renamed]) == [Measurement(renamed, SCORES)]
    assert not folder.of([question(0, delta="00" * 32)])
    assert not folder.of([question(0, text="a blue robot doing the pll")])


def test_rows_of_other_models_are_refused_by_name(tmp_path: Path) -> None:
    MeasurementFolder(tmp_path, MODELS).add(ROWS)
    with pytest.raises(RunFolderError, match="base"):
        MeasurementFolder(tmp_path, {**MODELS, "base": "00" * 32})
    with pytest.raises(RunFolderError, match="holds no rows"):
        (tmp_path / TABLE).write_text("no parquet")
        MeasurementFolder(tmp_path, MODELS)
