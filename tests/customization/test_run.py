"""The run folder: whose it is, one process at a time, metrics without gap or repeat."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from motion_ray.customization.run import RunFolder, check_run_folder
from motion_ray.errors import RunFolderError
from motion_ray.recipes import load_config
from motion_ray.types import RunFinished, StepDone, Validated

CONFIG = load_config("puppet", motion="clips")


def step(number: int) -> StepDone:
    return StepDone(number, 0.5, {"motion": 0.5}, 1e-4, 1.0, 0.1)


def test_a_folder_belongs_to_its_config(tmp_path):
    run = RunFolder(tmp_path / "out")
    with run.claim(CONFIG):
        pass
    check_run_folder(tmp_path / "out", CONFIG)
    other = CONFIG.replace({"optimizer": {"lr": 1.0}, "seed": 3})
    with pytest.raises(
        RunFolderError, match=r"another run \(optimizer\.lr was 0\.0\d+, now 1\.0 and 1 more\)"
    ):
        check_run_folder(tmp_path / "out", other)


def test_a_long_setting_is_told_in_short(tmp_path):
    run = RunFolder(tmp_path / "out")
    with run.claim(CONFIG):
        pass
    many = CONFIG.replace({"validation": {"prompts": [f"a <motion> {i}" for i in range(100)]}})
    with pytest.raises(RunFolderError, match=r"validation\.prompts was .*\.\.\.") as caught:
        check_run_folder(tmp_path / "out", many)
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
        check_run_folder(tmp_path / "out", CONFIG)


def test_checking_creates_nothing(tmp_path):
    check_run_folder(tmp_path / "out", CONFIG)
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
