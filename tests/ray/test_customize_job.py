"""The whole job on the embedded model: clips in, a delta in the store and a page out."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.data.puppets.folders import write_motion_folder, write_regularization_folder
from motion_ray.data.video import probe
from motion_ray.store import DeltaStore
from tests.ray.conftest import StartJob
from tests.ray.running import REPO, metrics, result

pytestmark = pytest.mark.timeout(600)

SMALL = [
    "max_steps=4",
    "checkpoint_every=2",
    "batch_size=2",
    "augmentation.variants=1",
    "sampling.steps=4",
    "validation.every=2",
    'validation.prompts=["a red robot <motion> in the forest"]',
    "validation.floor.relative=0.5",
    "engine.threads=1",
]


def test_clips_become_a_delta_that_works_and_a_page_that_shows_it(
    start: StartJob, tmp_path: Path
) -> None:
    motion, other = tmp_path / "swinging-arms", tmp_path / "other"
    write_motion_folder("swinging arms", motion, clips=3, seed=0)
    write_regularization_folder(other, clips=3, seed=0, avoid="swinging arms")
    sets = [*SMALL, f"regularization.folder={other}"]
    arguments = [word for text in sets for word in ("--set", text)]
    store = tmp_path / "store"
    places = ["--store", str(store), "--cache", str(tmp_path / "cache")]
    job = start(["--motion", str(motion), *places, *arguments], tmp_path / "out")
    assert job.finish() == 0, job.printed

    assert job.steps() == [1, 2, 3, 4]
    assert list((tmp_path / "cache" / "latents").iterdir()) and not (job.out / "cache").exists()
    validations = [line for line in metrics(job.out) if line["event"] == "validation"]
    assert [line["step"] for line in validations] == [0, 2, 4]
    assert all(0 < line["floor"] < line["appearance"] < 1 for line in validations)

    finished = result(job.out)
    delta = DeltaStore(store).load(finished["delta"])
    assert delta.sha256 == finished["sha256"]
    assert delta.header.step == 4 and delta.header.config["engine"]["name"] == "deepspeed"
    backbone = load_backbone("puppet", "cpu")
    before = {name: p.clone() for name, p in backbone.denoiser.named_parameters()}
    with delta.applied(backbone):
        changed = {
            n for n, p in backbone.denoiser.named_parameters() if not torch.equal(p, before[n])
        }
    assert changed == set(delta.tensors)

    for said in (finished["delta"], str(store), finished["report"], "step 4", "the last step"):
        assert said in job.printed
    assert_page_and_snippet(Path(finished["report"]), tmp_path)


def assert_page_and_snippet(report: Path, scratch: Path) -> None:
    """The page holds the videos, and the Python on it makes another one."""
    page = report.read_text()
    assert page.count("<video") == 3 + 2  # training clips, before and after
    found = re.search(r'<pre id="usage">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    ran = subprocess.run(
        [sys.executable, "-c", unescape(found[1])],
        cwd=scratch,
        env={"PYTHONPATH": str(REPO), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    video = probe(scratch / "video.mp4")
    assert (video.frames, video.width, video.height) == (8, 64, 64)
