"""The copy of a run folder: always of one moment, and of the latest attempt."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from motion_ray.errors import MirrorError
from motion_ray.sweeps.mirror import RunMirror
from motion_ray.temporaries import temporary_name


@pytest.fixture(params=["path", "file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    roots = {"path": "", "file": "file://", "memory": "memory:/"}
    return f"{roots[request.param]}{tmp_path / 'mirror'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run at step 2."""
    folder = tmp_path / "node-1"
    step(folder, 2)
    return folder


def step(folder: Path, number: int) -> None:
    """What a run does between two pushes: a checkpoint more, one less, and more metrics."""
    checkpoint = folder / "checkpoints" / f"step-{number:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.safetensors").write_bytes(bytes([number]) * 1000)
    (checkpoint / "manifest.json").write_text(f'{{"step": {number}}}')
    old = folder / "checkpoints" / f"step-{number - 4:08d}"
    shutil.rmtree(old, ignore_errors=True)
    with (folder / "metrics.jsonl").open("a") as metrics:
        metrics.write(f'{{"step": {number}}}\n')
    (folder / ".lock").touch()
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "cache" / "latents").write_text("large")


def contents(folder: Path) -> dict[str, bytes]:
    """What belongs to the run."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    names = {each.relative_to(folder).as_posix(): each.read_bytes() for each in files}
    return {name: data for name, data in names.items() if name != ".lock" and "cache" not in name}


def test_another_machine_goes_on_where_the_first_one_was(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    first = RunMirror(uri, attempt=1)
    first.begin(folder)  # there is no copy yet, so what is here stays
    for number in (4, 6, 8):
        first.push(folder)
        step(folder, number)
    before = contents(folder)
    first.push(folder)
    elsewhere = tmp_path / "node-2"
    elsewhere.mkdir()
    RunMirror(uri, attempt=2).begin(elsewhere)
    assert contents(elsewhere) == before
    assert not (elsewhere / ".lock").exists() and not (elsewhere / "cache").exists()


def test_a_machine_that_is_behind_or_has_gone_astray_gets_what_it_lacks(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    stale = tmp_path / "node-2"
    shutil.copytree(folder, stale)
    first = RunMirror(uri, attempt=1)
    first.begin(folder)
    for number in (4, 6):
        step(folder, number)
    first.push(folder)
    (stale / "metrics.jsonl").write_text("of another time\n")
    RunMirror(uri, attempt=2).begin(stale)
    assert contents(stale) == contents(folder)
    assert (stale / "cache" / "latents").exists()  # of the machine, not of the run


def count_calls(mirror: RunMirror, stop_after: int | None = None) -> dict[str, int]:
    """Count what a mirror does to its storage; the process dies after so many changes."""
    calls = dict.fromkeys(("upload", "create", "remove"), 0)

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            if stop_after is not None and sum(calls.values()) >= stop_after:
                raise KeyboardInterrupt
            calls[name] += 1
            return call(*args)

        return counted

    for name in calls:
        setattr(mirror._place, name, counting(name, getattr(mirror._place, name)))
    return calls


def test_a_push_killed_anywhere_leaves_the_copy_of_one_moment(uri: str, tmp_path: Path) -> None:
    for stop in itertools.count():
        node = tmp_path / f"node-{stop}"
        step(node, 2)
        mirror = RunMirror(f"{uri}/{stop}", attempt=1)
        mirror.begin(node)
        mirror.push(node)
        step(node, 4)
        mirror.push(node)
        states = [contents(node)]
        step(node, 6)
        states.append(contents(node))
        calls = count_calls(mirror, stop)
        try:
            mirror.push(node)
            killed = False
        except KeyboardInterrupt:
            killed = True
        other = tmp_path / f"other-{stop}"
        other.mkdir()
        RunMirror(f"{uri}/{stop}", attempt=2).begin(other)
        assert contents(other) in states
        if not killed:
            assert contents(other) == states[1]
            assert calls == {"upload": 3, "create": 1, "remove": calls["remove"]}
            break
    assert stop > 5  # some of the changes were removals


def test_only_what_is_new_is_sent_and_only_what_is_needed_is_kept(uri: str, folder: Path) -> None:
    mirror = RunMirror(uri, attempt=1)
    mirror.begin(folder)
    mirror.push(folder)
    calls = count_calls(mirror)
    mirror.push(folder)
    assert calls["upload"] == 0
    for number in range(4, 30, 2):
        step(folder, number)
        mirror.push(folder)
    # Two snapshots of two checkpoints each have three checkpoints, and two states of the metrics.
    names = mirror._place.names("objects/000001")
    assert len(names) == 3 * 2 + 2
    assert len(mirror._place.names("snapshots")) == 2
    mirror.push(folder, checkpoints=False)
    assert len(mirror._place.names("objects/000001")) == 1


def test_an_attempt_that_was_given_up_cannot_disturb_the_one_that_took_over(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    lost = RunMirror(uri, attempt=1)
    lost.begin(folder)
    lost.push(folder)
    other = tmp_path / "node-2"
    other.mkdir()
    second = RunMirror(uri, attempt=2)
    second.begin(other)
    step(folder, 4)
    with pytest.raises(MirrorError, match="attempt 2 has taken over from attempt 1"):
        lost.push(folder)
    with pytest.raises(MirrorError, match="attempt 2 has taken over"):
        RunMirror(uri, attempt=1).begin(folder)
    step(other, 6)
    second.push(other)
    third = tmp_path / "node-3"
    third.mkdir()
    RunMirror(uri, attempt=3).begin(third)
    assert contents(third) == contents(other)


def test_an_attempt_is_over_as_soon_as_the_next_one_begins_to_read(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    lost, second = RunMirror(uri, attempt=1), RunMirror(uri, attempt=2)
    lost.begin(folder)
    lost.push(folder)
    before, download, steps = contents(folder), second._place.download, iter((4, 6, 8))

    def lost_goes_on(path: str, target: Path) -> bool:
        for number in steps:
            step(folder, number)
            with pytest.raises(MirrorError, match="attempt 2 has taken over from attempt 1"):
                lost.push(folder)
        return download(path, target)

    second._place.download = lost_goes_on  # type: ignore[method-assign]
    other = tmp_path / "node-2"
    other.mkdir()
    second.begin(other)
    assert contents(other) == before
    second.push(other)
    third = tmp_path / "node-3"
    third.mkdir()
    RunMirror(uri, attempt=3).begin(third)
    assert contents(third) == before


@pytest.mark.parametrize("call", ["create", "remove", "names"])
def test_an_attempt_that_is_taken_over_in_a_push_removes_nothing_of_the_next(
    uri: str, folder: Path, tmp_path: Path, call: str
) -> None:
    for moment in itertools.count():
        node, mirror = tmp_path / f"lost-{moment}", f"{uri}/{moment}"
        shutil.copytree(folder, node)
        lost, second = RunMirror(mirror, attempt=1), RunMirror(mirror, attempt=2)
        lost.begin(node)
        for number in (4, 6):
            lost.push(node)
            step(node, number)
        other = tmp_path / f"other-{moment}"
        other.mkdir()
        original, calls = getattr(lost._place, call), itertools.count()
        begun: list[int] = []

        def taken_over(
            *args: Any,
            original: Any = original,
            calls: Any = calls,
            moment: int = moment,
            second: RunMirror = second,
            other: Path = other,
            begun: list[int] = begun,
        ) -> Any:
            if next(calls) == moment:
                begun.append(moment)
                second.begin(other)
                step(other, 20)
                second.push(other)
            return original(*args)

        setattr(lost._place, call, taken_over)
        with contextlib.suppress(MirrorError):
            lost.push(node)
        if not begun:
            break
        third = tmp_path / f"third-{moment}"
        third.mkdir()
        RunMirror(mirror, attempt=3).begin(third)
        assert contents(third) == contents(other)
    assert moment


def test_nothing_half_brought_stays_in_a_checkpoint(uri: str, folder: Path, tmp_path: Path) -> None:
    first = RunMirror(uri, attempt=1)
    first.begin(folder)
    first.push(folder)
    first.push(folder)
    other = tmp_path / "node-2"
    checkpoint = other / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / temporary_name("weights.safetensors")).write_bytes(b"of a killed attempt")
    second = RunMirror(uri, attempt=2)

    def fill_the_disk(path: str, target: Path) -> bool:
        target.write_bytes(b"half")
        raise MirrorError(target, "cannot be written: the disk is full", "free some space")

    second._place.download = fill_the_disk  # type: ignore[method-assign]
    with pytest.raises(MirrorError, match="the disk is full"):
        second.begin(other)
    assert contents(other) == {}
    RunMirror(uri, attempt=3).begin(other)
    assert contents(other) == contents(folder)


def damage(uri: str, pattern: str) -> None:
    """Change a byte of the newest file of the mirror that fits."""
    filesystem, root = fsspec.core.url_to_fs(uri)
    path = sorted(filesystem.glob(f"{root}/{pattern}"))[-1]
    data = filesystem.cat_file(path)
    filesystem.pipe_file(path, data[:-1] + bytes([data[-1] ^ 1]))


def test_a_damaged_copy_is_found_and_the_one_before_it_is_taken(
    uri: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = RunMirror(uri, attempt=1)
    mirror.begin(folder)
    mirror.push(folder)
    before = contents(folder)
    step(folder, 4)
    mirror.push(folder)
    damage(uri, "snapshots/*")
    other = tmp_path / "node-2"
    other.mkdir()
    RunMirror(uri, attempt=2).begin(other)
    assert contents(other) == before
    assert "another copy is tried" in caplog.text
    for file in ("objects/000001/*",) * 3:
        damage(uri, file)
    fresh = tmp_path / "node-3"
    fresh.mkdir()
    with pytest.raises(MirrorError, match="is damaged: its content changed"):
        RunMirror(uri, attempt=3).begin(fresh)


@pytest.mark.parametrize("name", ["../run.json", "/run.json", "a/../../run.json", "..\\run.json"])
def test_a_copy_cannot_be_brought_to_another_place(name: str, folder: Path, tmp_path: Path) -> None:
    uri = tmp_path / "mirror"
    mirror = RunMirror(str(uri), attempt=1)
    mirror.begin(folder)
    mirror.push(folder)
    *older, newest = sorted((uri / "snapshots").iterdir())
    for path in older:
        path.unlink()
    content = json.loads(newest.read_text())
    newest.write_text(json.dumps({name: content["metrics.jsonl"]}))
    other = tmp_path / "deep" / "node-2"
    with pytest.raises(MirrorError, match="is not in a run folder"):
        RunMirror(str(uri), attempt=2).begin(other)
    assert not list(tmp_path.rglob("run.json"))


def test_a_reader_gets_what_it_asks_for(uri: str, folder: Path, tmp_path: Path) -> None:
    assert RunMirror(uri).fetch(tmp_path / "none", lambda path: True) is False
    mirror = RunMirror(uri, attempt=1)
    mirror.begin(folder)
    mirror.push(folder)
    look = tmp_path / "look"
    assert RunMirror(uri).fetch(look, lambda path: path == "metrics.jsonl")
    assert set(contents(look)) == {"metrics.jsonl"}
    (folder / "report.html").write_text("a page")
    mirror.show(folder)
    filesystem, root = fsspec.core.url_to_fs(uri)
    assert filesystem.cat_file(f"{root}/report.html") == b"a page"


def test_a_reader_is_not_disturbed_by_a_writer_that_goes_on_meanwhile(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    writer, reader = RunMirror(uri, attempt=1), RunMirror(uri)
    writer.begin(folder)
    writer.push(folder)
    download, steps = reader._place.download, iter((4, 6, 8))

    def go_on_first(path: str, target: Path) -> bool:
        for number in steps:
            step(folder, number)
            writer.push(folder)
        return download(path, target)

    reader._place.download = go_on_first  # type: ignore[method-assign]
    look = tmp_path / "look"
    assert reader.fetch(look, lambda path: path == "metrics.jsonl")
    assert contents(look)["metrics.jsonl"] == contents(folder)["metrics.jsonl"]
