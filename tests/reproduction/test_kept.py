"""What a reproduction leaves to others: cells and rows that another machine goes on from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from motion_ray.errors import RunFolderError
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.measurement_files import read_table, write_table
from motion_ray.reproduction.calls import Call
from motion_ray.reproduction.evaluators import BASE, evaluators_of, note_of, rows_of
from motion_ray.reproduction.kept import CELLS, bring, keep, read_kept
from motion_ray.reproduction.record import Failed, Learned, Trained
from motion_ray.reproduction.scale import puppet_scale
from motion_ray.reproduction.training import train_here
from tests.reproduction.conftest import OpenTiny
from tests.reproduction.samples import row
from tests.reproduction.test_training import IMPOSSIBLE, Steps

CALL = Call("python -m jobs.reproduce all", "abc", "CPU", "2026-11-25", "2026-11-25 10:00:00", 3.0)


def measured(root: Path, *prompts: int, models: str = "a") -> Path:
    """Rows of a reproduction, on disk."""
    path = rows_of(root)[BASE]
    write_table(path, [row("dabbing", n, right=True) for n in prompts], {"models": models})
    return path


def prompts(path: Path) -> list[int]:
    return [each.question.prompt for each in read_table(path)[0]]


def test_another_machine_trains_only_what_is_left(open_tiny: OpenTiny, tmp_path: Path) -> None:
    record = open_tiny(root=tmp_path / "first")
    train_here(record, "cpu", Steps())
    trained, _ = record.outcomes()
    keep(tmp_path / "kept", record.root, trained[:2], [], [CALL])

    kept = read_kept(tmp_path / "kept")
    assert list(kept.calls) == [CALL]
    other = open_tiny(root=tmp_path / "second", ended=kept.cells)
    assert [trial.motion for trial in other.waiting()] == [trained[2].cell.name]
    train_here(other, "cpu", Steps())
    again, failed = other.outcomes()
    assert not failed and [each.cell for each in again] == [each.cell for each in trained]
    for before, now in zip(trained[:2], again, strict=False):
        assert now.deltas == before.deltas and list(now.deltas) == sorted(now.deltas)
        assert now.stopped == before.stopped and not now.here
    assert again[2].here


def test_what_cannot_be_trained_is_known_elsewhere_and_can_be_tried_again(
    open_tiny: OpenTiny, tmp_path: Path
) -> None:
    record = open_tiny(IMPOSSIBLE, root=tmp_path / "first")
    train_here(record, "cpu", Steps())
    _, failed = record.outcomes()
    keep(tmp_path / "kept", record.root, failed, [], [CALL])
    ended = read_kept(tmp_path / "kept").cells
    other = open_tiny(IMPOSSIBLE, root=tmp_path / "second", ended=ended)
    assert not other.waiting() and other.outcomes() == ([], failed)
    tried = open_tiny(IMPOSSIBLE, root=tmp_path / "third", ended=ended, retry_failed=True)
    assert len(tried.waiting()) == len(failed)


def test_cells_and_rows_that_are_kept_already_stay(open_tiny: OpenTiny, tmp_path: Path) -> None:
    cell = next(iter(open_tiny().trials))
    learned = {2: Learned("a@1", "0" * 64, "pll", "puppet", 2)}
    config = next(iter(open_tiny().trials.values())).config
    folder, first, second = tmp_path / "kept", tmp_path / "first", tmp_path / "second"
    measured(first, 0, 1)
    keep(folder, first, [Trained(cell, "one", config, learned, "max_steps", 2.0)], [], [CALL])
    measured(second, 1, 2)
    later = replace(CALL, began="2026-11-26 10:00:00")
    keep(folder, second, [Failed(cell, "it cannot", "two")], [], [CALL, later])
    kept = read_kept(folder)
    assert set(kept.cells) == {"one", "two"} and list(kept.calls) == [CALL, later]
    assert (kept.cells["one"].deltas, kept.cells["two"].reason) == (learned, "it cannot")
    assert prompts(folder / f"{BASE}.parquet") == [0, 1, 2]
    measured(second, 5, models="b")
    with pytest.raises(RunFolderError, match=r"other models .*\(models\).*another folder"):
        keep(folder, second, [], [], [])  # its cells would be left without rows
    assert prompts(folder / f"{BASE}.parquet") == [0, 1, 2]


def test_a_video_that_failed_does_not_replace_one_that_was_measured(tmp_path: Path) -> None:
    measured(tmp_path / "first", 0, 1)
    keep(tmp_path / "kept", tmp_path / "first", [], [], [CALL])
    lost = [Measurement(row("dabbing", n, right=True).question, None, "lost") for n in (1, 2)]
    write_table(rows_of(tmp_path / "first")[BASE], lost, {"models": "a"})
    keep(tmp_path / "kept", tmp_path / "first", [], [], [CALL])
    rows, _ = read_table(tmp_path / "kept" / "base.parquet")
    assert [(r.question.prompt, r.failure) for r in rows] == [(0, ""), (1, ""), (2, "lost")]


def test_rows_from_elsewhere_are_taken_over_once_and_only_from_the_same_evaluators(
    tmp_path: Path,
) -> None:
    known, root = tmp_path / "kept", tmp_path / "out"
    keep(known, measured(tmp_path / "first", 0, 1).parents[2], [], [], [])

    def nobody(*settings: object) -> None:
        raise AssertionError("models are loaded though nothing is missing")

    settings = puppet_scale().settings
    table = measured(root, 0)
    (table.parent / "settings.txt").write_text(note_of(settings))
    evaluators = evaluators_of(settings, root, nobody, known)[False]  # pyright: ignore
    for _ in range(2):
        with evaluators.opened([]) as force:
            assert force.measured_with == {"models": "a"}
        assert len(list((table.parent / "rows").glob("*.parquet"))) == 1
    assert len(evaluators.answered()) == 2

    (table.parent / "settings.txt").write_text(repr(settings))  # of other files of models
    with pytest.raises(AssertionError, match="models are loaded"), evaluators.opened([]):
        pass
    (table.parent / "settings.txt").write_text(note_of(settings))

    measured(root, 7, models="b")
    refused = pytest.raises(RunFolderError, match=r"other models or settings \(models\)")
    with refused, evaluators.opened([]):
        pass


def test_videos_that_failed_are_missing_if_they_are_to_be_tried_again(tmp_path: Path) -> None:
    asked = [row("dabbing", n, right=True).question for n in range(3)]
    rows = [row("dabbing", 0, right=True), *(Measurement(q, None, "lost") for q in asked[1:])]
    write_table(rows_of(tmp_path)[BASE], rows, {"models": "a"})
    for retry, answered in ((False, asked), (True, asked[:1])):
        found = evaluators_of(
            *(puppet_scale().settings, tmp_path, lambda *_: None),  # pyright: ignore
            retry_failed=retry,
        )
        assert found[False].answered() == {each.key for each in answered}


def test_clips_are_brought_where_none_are_drawn(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for name, root in (("regularization", first), ("dabbing-10", first), ("dabbing-10", second)):
        (root / "clips" / name).mkdir(parents=True)
        (root / "clips" / name / "000.mp4").write_text(root.name)
    keep(tmp_path / "kept", first, [], [], [])
    bring(read_kept(tmp_path / "kept"), second)
    found = {p.parent.name: p.read_text() for p in (second / "clips").rglob("*.mp4")}
    assert found == {"regularization": "first", "dabbing-10": "second"}
    assert sorted(p.name for p in (second / "clips").iterdir()) == sorted(found)


def test_videos_are_brought_where_they_are_missing(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for number in range(2):
        file = first / "videos" / "ours" / f"{number}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"first")
    keep(tmp_path / "kept", first, [], sorted(first.rglob("*.mp4")), [])
    (second / "videos" / "ours").mkdir(parents=True)
    (second / "videos" / "ours" / "0.mp4").write_bytes(b"second")
    bring(read_kept(tmp_path / "kept"), second)
    brought = {f.name: f.read_bytes() for f in second.rglob("*.mp4")}
    assert brought == {"0.mp4": b"second", "1.mp4": b"first"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("[]", "holds no cells of a reproduction"),
        (json.dumps({"format": "other"}), "its format is other"),
    ],
)
def test_what_is_no_reproduction_is_refused(
    content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / CELLS).write_text(content)
    with pytest.raises(RunFolderError, match=message):
        read_kept(tmp_path)
