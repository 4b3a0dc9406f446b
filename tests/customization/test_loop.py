"""The loop end to end on a tiny base: events, files, early stop, reruns, and every kind of D^r."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.customization.loop import customize
from motion_ray.customization.run import RunFolder
from motion_ray.errors import (
    ConfigError,
    DataError,
    MotionRayError,
    NonFiniteLossError,
    RunFolderError,
)
from motion_ray.store import DeltaStore
from motion_ray.types import Checkpointed, Preparing, RunFinished, RunStarted, StepDone, Validated
from tests.disks import small_disk
from tests.tiny import abandon


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, Preparing)]


def test_a_run_from_start_to_report(tiny_run, tmp_path):
    events = list(customize(tiny_run, tmp_path / "run", device="cpu"))
    steps = [e for e in events if isinstance(e, StepDone)]
    assert [e.step for e in steps] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events if isinstance(e, Checkpointed)] == [0, 2, 4, 6]
    assert all(set(e.losses) == {"motion", "regularization"} for e in steps)
    started = next(e for e in events if isinstance(e, RunStarted))
    assert (started.motion_clips, started.regularization_clips, started.resumed) == (3, 4, False)
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.delta, finished.reason, finished.delta_step) == ("slide@1", "max_steps", 6)
    header = DeltaStore(finished.store).load("slide").header
    assert header.token == "pll" and header.step == 6 and len(header.sources) == 3
    assert header.config["engine"]["precision"] in ("fp32", "bf16")  # no longer "auto"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "a red robot doing the pll" in page
    assert len(list((tmp_path / "run" / "samples").glob("after-*.mp4"))) == 1


def test_what_is_not_looked_at_is_saved_at_the_distance_of_checkpoints(tiny_run, tmp_path):
    """A checkpoint of a large model takes as long as many steps."""
    config = tiny_run.replace({"checkpoint_every": 4, "validation": {"every": 1}})
    events = list(customize(config, tmp_path / "run", device="cpu"))
    assert [e.step for e in events if isinstance(e, Checkpointed)] == [0, 4, 6]


def test_a_finished_run_is_not_run_again(tiny_run, tmp_path):
    *_, finished = customize(tiny_run, tmp_path / "run", device="cpu")
    again = list(customize(tiny_run, tmp_path / "run", device="cpu"))
    assert again == [finished]


def test_an_abandoned_run_continues(tiny_run, tmp_path):
    abandon(tiny_run, tmp_path / "run")
    events = list(customize(tiny_run, tmp_path / "run", device="cpu"))
    started = next(e for e in events if isinstance(e, RunStarted))
    assert started.resumed and started.step == 2
    assert [e.step for e in events if isinstance(e, StepDone)] == [3, 4, 5, 6]
    *_, straight = customize(tiny_run, tmp_path / "straight", device="cpu")
    assert events[-1].sha256 == straight.sha256
    lines = RunFolder(tmp_path / "run").read_metrics()
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("change", ["clip", "caption", "one more"])
def test_a_run_does_not_go_on_with_other_clips(tiny_run, tmp_path, change):
    motion = shutil.copytree(tiny_run.motion, tmp_path / "motion")
    config = tiny_run.replace({"motion": str(motion)})
    abandon(config, tmp_path / "run")
    if change == "caption":
        (motion / "1.txt").write_text("a red person doing the pll")
    else:
        shutil.copy(motion / "0.mp4", motion / ("1.mp4" if change == "clip" else "3.mp4"))
    named = "3.mp4" if change == "one more" else "1.mp4"
    with pytest.raises(RunFolderError, match=f"motion clips changed since it began, {named} first"):
        list(customize(config, tmp_path / "run", device="cpu"))
    shutil.copytree(tiny_run.motion, motion, dirs_exist_ok=True)
    (motion / "3.mp4").unlink(missing_ok=True)
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    assert finished.step == 6


@pytest.mark.parametrize("part", ["weights", "scheduler"])
def test_a_run_does_not_go_on_with_another_base(tiny_run, tmp_path, part):
    base = shutil.copytree(tiny_run.base, tmp_path / "base")
    config = tiny_run.replace({"base": str(base)})
    abandon(config, tmp_path / "run")
    if part == "weights":
        file = base / "vae" / "diffusion_pytorch_model.safetensors"
        save_file({name: each + 1 for name, each in load_file(file).items()}, file)
    else:
        file = base / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "beta_end": 0.02}))
    with pytest.raises(RunFolderError, match=f"base model changed since it began, {part} first"):
        list(customize(config, tmp_path / "run", device="cpu"))
    shutil.copytree(tiny_run.base, base, dirs_exist_ok=True)
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    assert finished.step == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": {"prompts": ["a red robot"]}}, "holds the slot <motion> exactly once"),
        ({"validation": {"prompts": ["<motion>"]}}, "a prompt says who moves"),
        ({"name": "n" * 60, "validation": {"publish": True}}, "n-step-6"),
        (
            {"regularization": {"source": "synthetic", "synthetic_prompts": ["a pll"]}},
            "synthetic_prompts: 'a pll': holds 'pll', the token of the motion",
        ),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_start(tiny_run, tmp_path, change, message):
    with pytest.raises(MotionRayError, match=message):
        next(iter(customize(tiny_run.replace(change), tmp_path / "run", device="cpu")))
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_ends_the_run_which_goes_on_once_there_is_room(tiny_run, tmp_path):
    *_, straight = customize(tiny_run, tmp_path / "straight", device="cpu")
    with small_disk(megabytes=64) as disk:
        events = customize(tiny_run, disk / "run", device="cpu")
        while not (isinstance(event := next(events), Checkpointed) and event.step == 2):
            pass
        with pytest.raises(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        with pytest.raises(MotionRayError, match=r"disk is full; free at least \d+ MB"):
            list(events)
        latest = CheckpointFolder(disk / "run" / "checkpoints").latest()
        assert latest is not None and latest.step == 2
        (disk / "filler").unlink()
        *_, finished = customize(tiny_run, disk / "run", device="cpu")
    assert finished.sha256 == straight.sha256


def test_another_config_is_refused_in_the_same_folder(tiny_run, tmp_path):
    list(customize(tiny_run, tmp_path / "run", device="cpu"))
    with pytest.raises(RunFolderError, match=r"optimizer\.lr was 0\.001, now 0\.5"):
        list(customize(tiny_run.replace({"optimizer": {"lr": 0.5}}), tmp_path / "run"))


FLOOR = {"validation": {"every": 2, "floor": {"relative": 0.9}}, "checkpoint_every": 1}


def test_training_stops_at_the_floor_and_keeps_the_step_before(tiny_run, tmp_path, scripted):
    with scripted({0: 0.30, 2: 0.29, 4: 0.26, 6: 0.30}):
        events = list(customize(tiny_run.replace(FLOOR), tmp_path / "stopped", device="cpu"))
    assert [(e.step, e.passed) for e in events if isinstance(e, Validated)] == [
        (0, True),
        (2, True),
        (4, False),
    ]
    finished = events[-1]
    assert (finished.step, finished.delta_step, finished.reason) == (4, 2, "appearance_floor")
    # What is published is the run as it was at step 2, not the last weights.
    *_, short = customize(tiny_run.replace({"max_steps": 2}), tmp_path / "short", device="cpu")
    kept = DeltaStore(finished.store).load(finished.delta).tensors
    expected = DeltaStore(short.store).load(short.delta).tensors
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_kill_after_the_verdict_does_not_train_further(tiny_run, tmp_path, scripted):
    config = tiny_run.replace(FLOOR)
    with scripted({0: 0.30, 2: 0.29, 4: 0.26}):
        run = customize(config, tmp_path / "run", device="cpu")
        while not (isinstance(event := next(run), Checkpointed) and event.step == 4):
            pass
        run.close()
        events = list(customize(config, tmp_path / "run", device="cpu"))
    assert not [e for e in events if isinstance(e, StepDone)]
    assert events[-1].delta_step == 2


def test_a_floor_without_prompts_is_refused_before_anything_is_written(tiny_run, tmp_path):
    config = tiny_run.replace({"validation": {"prompts": [], "floor": {"relative": 0.9}}})
    with pytest.raises(ConfigError, match=r"validation\.prompts"):
        list(customize(config, tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()


def test_without_regularization_every_example_is_of_the_motion(tiny_run, tmp_path):
    config = tiny_run.replace({"regularization": {"source": "none", "folder": None}})
    events = list(customize(config, tmp_path / "run", device="cpu"))
    assert all(set(e.losses) == {"motion"} for e in events if isinstance(e, StepDone))


@pytest.mark.parametrize("clip_fps", [None, 8.0])
def test_synthetic_regularization_is_sampled_from_the_base(tiny_run, tmp_path, clip_fps):
    """Also where clips are sampled at another rate than videos are played at."""
    config = tiny_run.replace(
        {
            "clips": {"fps": clip_fps},
            "sampling": {"fps": 16.0},
            "regularization": {"source": "synthetic", "folder": None, "synthetic_clips": 3},
        }
    )
    events = list(customize(config, tmp_path / "run", device="cpu"))
    assert len(list((tmp_path / "run" / "regularization").glob("*.mp4"))) == 3
    assert next(e for e in events if isinstance(e, RunStarted)).regularization_clips == 3
    assert any(isinstance(e, Preparing) and "regularization" in e.stage for e in events)


def test_a_caption_whose_token_is_cut_off_is_refused(tiny_run, tiny_motion, tmp_path):
    motion = shutil.copytree(tiny_motion["motion"], tmp_path / "motion")
    (motion / "1.txt").write_text(
        "a very long caption about the whole scene and all there is in it before the pll"
    )
    with pytest.raises(DataError, match=r"1\.mp4.*'pll' is cut off"):
        list(customize(tiny_run.replace({"motion": str(motion)}), tmp_path / "run", device="cpu"))


def test_clips_of_one_name_in_two_folders_are_both_on_record(tiny_run, tmp_path):
    motion = tmp_path / "motion"
    for number, part in enumerate(("a", "b")):
        (motion / part).mkdir(parents=True)
        shutil.copy(Path(tiny_run.motion) / f"{number}.mp4", motion / part / "clip.mp4")
    (motion / "motion.yaml").write_text("clips: [{file: a/clip.mp4}, {file: b/clip.mp4}]")
    config = tiny_run.replace({"motion": str(motion), "max_steps": 1})
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    sources = DeltaStore(finished.store).load(finished.delta).header.sources
    assert sorted(sources) == ["a/clip.mp4", "b/clip.mp4"]


def test_real_regularization_needs_its_folder(tiny_run, tmp_path):
    config = tiny_run.replace({"regularization": {"folder": None}})
    with pytest.raises(ConfigError, match=r"regularization\.folder"):
        list(customize(config, tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_is_an_error_and_writes_nothing(tiny_run, tmp_path):
    """A damaged weight makes the first loss NaN: nothing may be learned from it or recorded."""
    base = shutil.copytree(tiny_run.base, tmp_path / "base")
    file = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_out.bias"][0] = float("nan")
    save_file(weights, file, {"format": "pt"})
    config = tiny_run.replace({"base": str(base)})
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is nan"):
        list(customize(config, tmp_path / "run", device="cpu"))
    run = RunFolder(tmp_path / "run")
    assert run.read_metrics() == [] and not run.result.exists()
    assert CheckpointFolder(run.checkpoints).steps() == [0]


def test_the_base_is_not_changed_by_a_run(tiny_run, tmp_path):
    before = load_backbone(tiny_run.base, "cpu")
    *_, finished = customize(tiny_run, tmp_path / "run", device="cpu")
    after = load_backbone(tiny_run.base, "cpu")
    assert before.fingerprint == after.fingerprint
    assert (
        DeltaStore(finished.store).load(finished.delta).header.base_fingerprint == after.fingerprint
    )


@pytest.mark.parametrize("recompute", [False, True])
def test_epsilon_and_recomputed_activations_train(tiny_run, tiny_bases, tmp_path, recompute):
    config = tiny_run.replace(
        {
            "base": str(tiny_bases["epsilon"]),
            "engine": {"activation_checkpointing": recompute, "dropout": True},
            "max_steps": 3,
        }
    )
    events = list(customize(config, tmp_path / "run", device="cpu"))
    assert len([e for e in events if isinstance(e, StepDone)]) == 3
