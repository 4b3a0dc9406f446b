"""The run folder: whose it is, one process at a time, metrics without gap or repeat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.customization.run import RunFolder
from motion_ray.errors import RunFolderError
from motion_ray.recipes import load_config
from motion_ray.types import RunFinished, StepDone, Validated
from tests.disks import small_disk

CPU = torch.device("cpu")
CONFIG = load_config("puppet", motion="clips")


def step(number: int) -> StepDone:
    return StepDone(number, 0.5, {"motion": 0.5}, 1e-4, 1.0, 0.1)


def test_a_folder_belongs_to_its_config(tmp_path):
    run = RunFolder(tmp_path / "out")
    with run.claim(CONFIG):
        (run.checkpoints / "step-00000100").mkdir(parents=True)
    RunFolder(tmp_path / "out").check(CONFIG)
    other = CONFIG.replace({"optimizer": {"lr": 1.0}, "seed": 3})
    with pytest.raises(
        RunFolderError, match=r"another run \(optimizer\.lr was 0\.0\d+, now 1\.0 and 1 more\)"
    ):
        RunFolder(tmp_path / "out").check(other)


def test_a_run_that_never_began_gives_way_to_one_with_a_better_setting(tmp_path):
    run, other = RunFolder(tmp_path / "out"), CONFIG.replace({"seed": 3})
    with run.claim(CONFIG):
        run.cache.mkdir()
        run.validation(0).mkdir(parents=True)
        run.log(Validated(0, 0.2, 0.265, False, 1.0))
    with run.claim(other):
        (run.checkpoints / "step-00000100").mkdir(parents=True)
    assert json.loads((run.root / "run.json").read_text())["identity"] == other.identity()
    with pytest.raises(RunFolderError, match="seed was 3, now 0"), run.claim(CONFIG):
        pass


def test_a_checkpoint_of_step_0_is_not_kept_for_a_run_with_a_better_setting(tmp_path):
    """Where scores come later, a floor that the base fails is known after the first checkpoint."""
    run, other = RunFolder(tmp_path / "out"), CONFIG.replace({"seed": 3})
    with run.claim(CONFIG):
        (run.checkpoints / "step-00000000").mkdir(parents=True)
    with run.claim(CONFIG):  # its own run goes on from there
        assert CheckpointFolder(run.checkpoints).steps() == [0]
    with run.claim(other):
        assert CheckpointFolder(run.checkpoints).steps() == []
        (run.checkpoints / "step-00000100").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="seed was 3, now 0"), run.claim(CONFIG):
        pass


def test_a_run_whose_clips_were_moved_is_adopted_by_whoever_knows_that_they_are_the_same(tmp_path):
    run = RunFolder(tmp_path / "out")
    first = CONFIG.replace({"regularization": {"folder": "clips/other"}})
    with run.claim(first):
        (run.checkpoints / "step-00000100").mkdir(parents=True)
    moved = first.replace({"motion": "/new/clips", "regularization": {"folder": "/new/other"}})
    moved = moved.replace({"base": "/new/model"})
    with pytest.raises(RunFolderError, match="belongs to another run"):
        run.check(moved)
    run.adopt(moved.replace({"seed": 5}))  # is another run, whatever its paths
    run.check(first)
    run.adopt(moved)
    run.check(moved)
    with pytest.raises(RunFolderError, match="seed was 0, now 5"):
        run.check(moved.replace({"seed": 5}))


def test_a_long_setting_is_told_in_short(tmp_path):
    run = RunFolder(tmp_path / "out")
    with run.claim(CONFIG):
        (run.checkpoints / "step-00000100").mkdir(parents=True)
    many = CONFIG.replace({"validation": {"prompts": [f"a <motion> {i}" for i in range(100)]}})
    with pytest.raises(RunFolderError, match=r"validation\.prompts was .*\.\.\.") as caught:
        RunFolder(tmp_path / "out").check(many)
    assert len(str(caught.value)) < 600


def test_a_folder_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with (
        pytest.raises(RunFolderError, match="holds files but no run"),
        RunFolder(tmp_path).claim(CONFIG),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "out").check(CONFIG)


def test_a_folder_that_the_system_refuses_is_explained():
    with pytest.raises(RunFolderError, match="/proc/motion-ray: cannot be written: no such file"):
        RunFolder(Path("/proc/motion-ray")).make()


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "notes").write_text("")
    with pytest.raises(RunFolderError, match=r"lies below a file, .*notes; --out names"):
        RunFolder(tmp_path / "notes" / "out").check(CONFIG)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(RunFolderError, match=f"nothing can be made in {tmp_path}; check its perm"):
        RunFolder(tmp_path / "new" / "out").check(CONFIG)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[]", b"{}"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"run\.json: is damaged; choose another"):
        RunFolder(tmp_path).check(CONFIG)


def test_a_disk_that_fills_up_is_named():
    told = r"the disk is full; free .*; what was saved before is untouched"
    with small_disk(megabytes=1) as disk:
        run = RunFolder(disk / "out")
        with pytest.raises(RunFolderError, match=told), run.claim(CONFIG):
            (disk / "filler").write_bytes(bytes(900_000))
            for number in range(10_000):
                run.log(step(number))
        assert run.read_metrics()[-1]["step"] > 100


def test_checking_creates_nothing(tmp_path):
    RunFolder(tmp_path / "out").check(CONFIG)
    assert not (tmp_path / "out").exists()


def test_one_process_at_a_time(tmp_path):
    run = RunFolder(tmp_path / "out")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with run.claim(CONFIG):
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.root / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(RunFolderError, match="another process"), run.claim(CONFIG):
        pass
    holder.kill()
    holder.communicate()
    with run.claim(CONFIG):
        pass


def test_a_run_keeps_the_arithmetic_that_it_began_in(tmp_path, monkeypatch):
    run, has_bfloat16 = RunFolder(tmp_path), {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has_bfloat16)
    assert run.settle(CONFIG, CPU).engine.arithmetic == "bf16"
    has_bfloat16["avx512_bf16"] = False
    assert run.settle(CONFIG, CPU).engine.arithmetic == "fp32"  # nothing is trained yet
    has_bfloat16["avx512_bf16"] = True
    (run.checkpoints / "step-00000100").mkdir(parents=True)
    settled = RunFolder(tmp_path).settle(CONFIG, CPU)
    assert settled == CONFIG.replace({"engine": {"precision": "fp32"}})


def test_an_arithmetic_that_was_asked_for_is_left(tmp_path):
    asked = CONFIG.replace({"engine": {"precision": "fp32"}})
    assert RunFolder(tmp_path).settle(asked, torch.device("cuda")) is asked


def test_metrics_rewind_to_a_step(tmp_path):
    run = RunFolder(tmp_path)
    with run.claim(CONFIG):
        run.log(Validated(0, 0.3, 0.27, True, 1.0))
        for number in range(1, 6):
            run.log(step(number))
        with run.metrics.open("a") as stream:
            stream.write('{"event": "step", "ste')  # cut by a kill
        run.rewind(3)
        run.log(step(4))
    assert [(line["event"], line["step"]) for line in run.read_metrics()] == [
        ("validation", 0),
        ("step", 1),
        ("step", 2),
        ("step", 3),
        ("step", 4),
    ]
    assert all(json.loads(line) for line in run.metrics.read_text().splitlines())


def test_a_finished_run_says_so(tmp_path):
    run = RunFolder(tmp_path)
    result = RunFinished(
        9, 6, "appearance_floor", "drumming@1", "store", "report.html", "ab", {"appearance": 0.3}
    )
    with run.claim(CONFIG):
        assert run.finished() is None
        run.finish(result)
    assert run.finished() == result


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[]", b"{}", b'{"step": 3}'])
def test_a_damaged_result_is_named(tmp_path, content):
    run = RunFolder(tmp_path)
    run.result.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"result\.json: is damaged; remove it and repeat"):
        run.finished()
