"""Checkpoints: whatever happens during a save, one that verifies is there afterwards."""

from __future__ import annotations

import errno
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.errors import CheckpointError, NonFiniteLossError
from motion_ray.temporaries import is_temporary
from tests.disks import small_disk
from tests.faults import CODES, Faults, injected


def write(step: int) -> Callable[[Path], None]:
    """What a trainer writes: a few files, one in a folder of its own."""

    def into(directory: Path) -> None:
        save_file({"a": torch.full((64,), float(step))}, directory / "engine.safetensors")
        (directory / "deepspeed").mkdir()
        (directory / "deepspeed" / "state").write_bytes(bytes([step]) * 1000)
        (directory / "trainer.json").write_text(json.dumps({"step": step}))

    return into


def step_in(directory: Path) -> int:
    step = json.loads((directory / "trainer.json").read_text())["step"]
    assert (directory / "deepspeed" / "state").read_bytes() == bytes([step]) * 1000
    return step


def temporaries(root: Path) -> list[str]:
    return [entry.name for entry in root.iterdir() if is_temporary(entry.name)]


def damage(directory: Path, file: str = "trainer.json") -> None:
    path = directory / file
    data = bytearray(path.read_bytes())
    data[8] ^= 4
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path) -> CheckpointFolder:
    """A folder with the checkpoints of steps 1 and 2."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    for step in (1, 2):
        folder.save(step, write(step))
    return folder


# --- saving and finding ---------------------------------------------------------------------------


def test_a_new_folder_has_none(tmp_path):
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints")
    assert folder.latest() is None
    assert folder.steps() == []
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        CheckpointError, match=r"00000007: there is no such checkpoint; steps: none"
    ):
        folder.at(7)


def test_the_newest_is_found(folder):
    latest = folder.latest()
    assert latest is not None
    assert (latest.step, step_in(latest.directory)) == (2, 2)
    assert folder.at(1).directory.name == "step-00000001"


def test_old_ones_go_and_protected_ones_stay(folder):
    for step in range(3, 8):
        folder.save(step, write(step), protect=(3,))
    assert folder.steps() == [3, 6, 7]
    folder.save(8, write(8))
    assert folder.steps() == [7, 8]
    assert temporaries(folder.root) == []


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_asked_for(tmp_path, keep):
    folder = CheckpointFolder(tmp_path, keep)
    for step in range(5):
        folder.save(step, write(step))
    assert folder.steps() == list(range(5))[-keep:]


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        CheckpointFolder(tmp_path, keep=0)


def test_a_step_that_is_there_is_not_written_again(folder):
    def fail(directory: Path) -> None:
        raise AssertionError("must not be called")

    before = (folder.at(2).directory / "trainer.json").stat().st_mtime_ns
    assert folder.save(2, fail).step == 2
    assert (folder.at(2).directory / "trainer.json").stat().st_mtime_ns == before


def test_a_damaged_step_is_written_again(folder, caplog):
    damage(folder.at(2).directory)
    folder.save(2, write(2))
    assert "replacing a damaged checkpoint" in caplog.text
    assert step_in(folder.at(2).directory) == 2
    assert temporaries(folder.root) == []


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["trainer.json", "engine.safetensors", "manifest.json"])
def test_a_damaged_one_is_passed_over_and_named(folder, caplog, file):
    damage(folder.at(2).directory, file)
    latest = folder.latest()
    assert latest is not None and latest.step == 1
    assert f"step 2 cannot be used: {folder.root}/step-00000002/{file}" in caplog.text
    with pytest.raises(CheckpointError, match=f"{file}: is damaged"):
        folder.at(2)


def test_with_all_damaged_nothing_is_loaded(folder):
    """Silence here would start the run anew and throw its steps away."""
    for step in (1, 2):
        damage(folder.at(step).directory)
    with pytest.raises(
        CheckpointError, match=r"none of its 2 checkpoints can be used \(.*00002/tr"
    ):
        folder.latest()


def test_an_unfinished_directory_is_never_considered(folder):
    unfinished = folder.root / "step-00000003"
    unfinished.mkdir()
    write(3)(unfinished)  # everything but the manifest
    latest = folder.latest()
    assert latest is not None and latest.step == 2


def test_a_damaged_newer_one_does_not_push_out_whole_ones(folder, caplog):
    """A run that fell back from 9 to 2 and saves 3 must not count 9 among the newest."""
    shutil.copytree(folder.at(2).directory, folder.root / "step-00000009")
    damage(folder.root / "step-00000009")
    folder.save(3, write(3))
    assert folder.steps() == [2, 3]
    assert "removing a damaged checkpoint" in caplog.text


def test_a_whole_newer_one_is_kept_and_so_is_the_one_just_saved(folder):
    for step in (8, 9):
        shutil.copytree(folder.at(2).directory, folder.root / f"step-{step:08d}")
    folder.save(3, write(3))
    assert folder.steps() == [3, 8, 9]


def test_other_entries_are_left_alone(folder):
    for name in ("notes.txt", "step-3", ".hidden"):
        (folder.root / name).write_text("mine")
    folder.save(3, write(3))
    names = {entry.name for entry in folder.root.iterdir()}
    assert names == {"notes.txt", "step-3", ".hidden", "step-00000002", "step-00000003"}


# --- faults ---------------------------------------------------------------------------------------


def test_an_error_of_the_trainer_passes_and_leaves_nothing(folder):
    def fail(directory: Path) -> None:
        write(3)(directory)
        raise NonFiniteLossError("step 3", "the loss is nan")

    with pytest.raises(NonFiniteLossError):
        folder.save(3, fail)
    assert sorted(entry.name for entry in folder.root.iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_every_single_system_call_may_fail(tmp_path, caplog, code):
    """Fail the Nth call of a save for every N, until a save meets no fault."""
    failed, absorbed = [], []
    for number in range(1, 200):
        root = tmp_path / str(number)
        folder = CheckpointFolder(root)
        for step in (1, 2):
            folder.save(step, write(step))
        faults = Faults(number, code)
        caplog.clear()
        raised = ""
        with injected(faults):
            try:
                folder.save(3, write(3))
            except CheckpointError as error:
                raised = str(error)
        if not faults.fired:
            break
        latest = CheckpointFolder(root).latest()
        assert latest is not None, number
        assert step_in(latest.directory) == latest.step
        if raised:
            assert "the previous checkpoint (step 2) is still loadable" in raised, number
            assert ("the disk is full; free at least" in raised) == (code == errno.ENOSPC)
            assert temporaries(root) == [], number
            # All but the very last call, the parent's fsync, come before the new name.
            assert latest.step in (2, 3)
            assert step_in(folder.at(2).directory) == 2
            failed.append((faults.fired, latest.step))
        else:
            # It hit reading or removing an older one: the save itself is durable.
            assert latest.step == 3, number
            assert folder.at(2).step == 2, number
            absorbed.append(caplog.text)
    else:
        pytest.fail("no save without a fault in 200")
    assert {call for call, _ in failed} == {"mkdir", "open", "write", "fsync", "rename"}
    assert [call for call, step in failed if step == 3] in (["fsync"], ["open", "fsync"])
    assert len(failed) >= 20
    assert any("could not be removed" in text for text in absorbed)
    assert any("left in place" in text for text in absorbed)


def test_a_disk_that_stays_broken(tmp_path):
    """From the Nth call on, every write, fsync and rename fails."""
    for number in range(1, 60):
        folder = CheckpointFolder(tmp_path / str(number))
        folder.save(1, write(1))
        faults = Faults(number, errno.EIO, lasting=True)
        with injected(faults, ("write", "fsync", "rename")):
            try:
                folder.save(2, write(2))
            except CheckpointError as error:
                assert "input/output error" in str(error)
        latest = folder.latest()
        assert latest is not None and step_in(latest.directory) == latest.step
        assert temporaries(folder.root) == []
        if not faults.fired:
            assert latest.step == 2
            return
    pytest.fail("no save without a fault in 60")


def plain(directory: Path) -> None:
    (directory / "file").write_bytes(b"x" * 3_000_000)


def by_safetensors(directory: Path) -> None:
    save_file({"a": torch.zeros(750_000)}, directory / "file")


def by_torch(directory: Path) -> None:
    torch.save({"a": torch.zeros(750_000)}, directory / "file")  # as DeepSpeed does


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(megabytes=4) as mount:
        yield mount


@pytest.mark.parametrize("fill", [plain, by_safetensors, by_torch])
def test_a_full_disk(disk, fill):
    """Each writer reports it in its own way; the user reads one."""
    folder = CheckpointFolder(disk / "checkpoints")
    folder.save(1, fill)
    message = (
        rf"step-00000002: cannot be written: the disk is full; free at least \d MB on {disk}; "
        r"the previous checkpoint \(step 1\) is still loadable"
    )
    with pytest.raises(CheckpointError, match=message):
        folder.save(2, fill)
    latest = folder.latest()
    assert latest is not None and latest.step == 1
    assert [entry.name for entry in folder.root.iterdir()] == ["step-00000001"]
    shutil.rmtree(latest.directory)  # space again
    folder.save(2, fill)
    assert folder.at(2).step == 2


# --- kill -9 --------------------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path) -> Iterator[Path]:
    """A folder in memory if there is one: kills differ from power cuts, they need no disk."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rounds", [100, pytest.param(1000, marks=[pytest.mark.chaos, pytest.mark.timeout(1200)])]
)
def test_kill_9_at_any_moment(memory, rounds):
    seed = random.Random(rounds).randrange(1000)
    command = [
        sys.executable,
        "-m",
        "tests.crash",
        "checkpoints",
        f"{memory}",
        f"{rounds}",
        f"{seed}",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    outcome = json.loads(done.stdout)
    assert outcome["broken"] == [] and outcome["lost"] == []
    assert outcome["kills"] == outcome["verified"] == rounds
    assert outcome["in_the_middle"] >= rounds // 5, "too few kills hit a writer at work"
    folder = CheckpointFolder(memory)
    assert temporaries(memory) == []  # the last opening removed what the last kill left
    latest = folder.latest()
    assert latest is not None and latest.step >= rounds


def test_the_leftovers_of_a_dead_writer_go_at_the_next_opening(folder, caplog):
    caplog.set_level(logging.INFO)
    code = (
        "import os, sys; from pathlib import Path;"
        "from motion_ray.customization.checkpoint import CheckpointFolder;"
        "CheckpointFolder(Path(sys.argv[1])).save(3, lambda directory: os.kill(os.getpid(), 9))"
    )
    subprocess.run([sys.executable, "-c", code, f"{folder.root}"], check=False)
    (left,) = temporaries(folder.root)
    again = CheckpointFolder(folder.root)
    assert temporaries(folder.root) == []
    assert left in caplog.text
    latest = again.latest()
    assert latest is not None and latest.step == 2
