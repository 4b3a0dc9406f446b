"""What interrupts a job: a killed worker, Ctrl-C, a loss that is not finite."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.torch import load_file, save_file

from motion_ray.config import CustomizationConfig
from tests.ray.conftest import StartJob
from tests.ray.running import REPO, metrics, result

pytestmark = pytest.mark.timeout(600)

PLAIN_LOOP = """
import os, sys, yaml
from pathlib import Path
os.environ["DS_ACCELERATOR"] = "cpu"
from motion_ray.config import parse_config
from motion_ray.customization.loop import customize
config = parse_config(yaml.safe_load(Path(sys.argv[1]).read_text()))
for event in customize(config, Path(sys.argv[2]), device="cpu"):
    pass
"""


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run without Ray and without interruption."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    program = [sys.executable, "-c", PLAIN_LOOP, command[command.index("--recipe") + 1], str(out)]
    subprocess.run(program, cwd=REPO, check=True, timeout=200)
    return out


def assert_same_run(out: Path, undisturbed: Path) -> None:
    """The same delta bit for bit, and the same losses, no step twice and none missing."""
    assert result(out)["sha256"] == result(undisturbed)["sha256"]
    ours, theirs = (
        [(line["step"], line["loss"], line["losses"]) for line in metrics(folder)]
        for folder in (out, undisturbed)
    )
    assert ours == theirs
    assert [step for step, _, _ in ours] == list(range(1, 31))


def test_a_killed_worker_is_replaced_and_the_result_has_the_same_bits(
    start: StartJob, command: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    job = start(command, tmp_path / "out")
    job.until(lambda: len(job.steps()) >= 12)
    first = job.worker()
    os.kill(first, signal.SIGKILL)
    assert job.finish() == 0, job.printed
    assert "the training worker was lost" in job.printed
    assert "attempt 2" in job.printed and "resumed at step " in job.printed
    assert job.worker() != first
    assert_same_run(job.out, undisturbed)


def test_ctrl_c_leaves_nothing_running_and_the_same_command_resumes(
    start: StartJob, command: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    job = start(command, tmp_path / "out", private=True)
    job.until(lambda: len(job.steps()) >= 12)
    family = psutil.Process(job.process.pid).children(recursive=True)
    assert any(process.pid == job.worker() for process in family)
    os.killpg(job.process.pid, signal.SIGINT)
    assert job.finish(120) == 130, job.printed
    last = job.steps()[-1]
    assert f"stopped at step {last} " in job.printed
    assert "run the same command to resume" in job.printed
    assert "Traceback" not in job.printed
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    again = start(command, job.out)
    assert again.finish() == 0, again.printed
    assert "resumed at step " in again.printed
    assert_same_run(job.out, undisturbed)


def test_a_failure_that_would_come_again_is_not_tried_again(
    start: StartJob, long_run: CustomizationConfig, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(long_run.base, tmp_path / "base"))
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"].fill_(float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    recipe = tmp_path / "nan.yaml"
    recipe.write_text(yaml.safe_dump(long_run.model_dump(mode="json")))
    arguments = ["--recipe", str(recipe), "--motion", long_run.motion, "--base", str(base)]
    job = start(arguments, tmp_path / "out")
    assert job.finish() == 2, job.printed
    assert job.printed.count("worker started") == 1
    [line] = [line for line in job.printed.splitlines() if line.startswith("error: ")]
    assert "step 1" in line and "the loss is nan" in line and "lower optimizer.lr" in line
    assert "Traceback" not in job.printed
