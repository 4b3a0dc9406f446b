"""Recorded denoising steps: what they give is what running them gives, whatever changes between."""

from __future__ import annotations

import itertools
import logging
import threading

import pytest
import torch

from motion_ray.backbones import replay
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.models import KeptModels
from motion_ray.generation import VideoGenerator
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.tier import OVERHEAD
from motion_ray.store import DeltaStore
from tests.deltas import changed, header

CLIPS = ClipConfig(frames=4, height=64, width=64)
PROMPT = "a red robot doing the pll"


@pytest.fixture
def backbone(monkeypatch) -> UNet3DBackbone:
    monkeypatch.setattr(replay, "WAITING", 0.0)  # record on any machine
    return load_backbone("puppet", "cuda")


def video(backbone: UNet3DBackbone, seed: int = 0, frames: int = 4, steps: int = 6) -> torch.Tensor:
    clips = CLIPS.model_copy(update={"frames": frames})
    generator = VideoGenerator(backbone, SamplingConfig(steps=steps), clips)
    return generator.generate([PROMPT], [seed])[0].frames


def eager(backbone: UNet3DBackbone, seed: int = 0, frames: int = 4) -> torch.Tensor:
    recorder, backbone.recorder = backbone.recorder, None
    try:
        return video(backbone, seed, frames)
    finally:
        backbone.recorder = recorder


def test_gives_what_running_gives(backbone):
    for seed in range(3):
        for frames in (4, 6):
            assert torch.equal(video(backbone, seed, frames), eager(backbone, seed, frames))
        # nothing is worth a recording that no second generation asks for
        assert backbone.recorder is not None and backbone.recorder.recorded == (2 if seed else 0)


def test_one_graph_serves_all_motions(backbone):
    deltas = [MotionDelta(header(backbone), changed(backbone, number)) for number in range(4)]
    without = eager(backbone)
    wanted = []
    for delta in deltas:
        with delta.applied(backbone):
            wanted.append(eager(backbone))
    assert len({each.numpy().tobytes() for each in [*wanted, without]}) == 5
    assert torch.equal(video(backbone), without)
    for _ in range(3):
        for delta, expected in zip(deltas, wanted, strict=True):
            with delta.applied(backbone):
                assert torch.equal(video(backbone), expected)
        assert torch.equal(video(backbone), without)
    assert backbone.recorder is not None and backbone.recorder.recorded == 1


def test_sees_weights_that_were_trained_in_place(backbone):
    backbone.denoiser.float()
    for parameter in backbone.denoiser.parameters():
        parameter.requires_grad_(True)  # autocast remembers their casts
    before = video(backbone)
    assert torch.equal(video(backbone), before)
    with torch.no_grad():
        for parameter in backbone.denoiser.parameters():
            parameter.mul_(1.01)
    after = video(backbone)
    assert torch.equal(after, eager(backbone)) and not torch.equal(after, before)
    assert backbone.recorder is not None and backbone.recorder.recorded == 1


def test_memory_does_not_grow(backbone):
    deltas = [MotionDelta(header(backbone), changed(backbone, number)) for number in range(3)]
    used = []
    for number in range(30):
        with deltas[number % 3].applied(backbone):
            video(backbone, number, frames=4 + 2 * (number % 2))
        used.append(torch.cuda.memory_reserved())
    assert backbone.recorder is not None and backbone.recorder.recorded == 2
    assert max(used[6:]) == used[6], "reserved device memory grows"


def test_a_copy_of_a_kept_base_records_for_itself(monkeypatch):
    monkeypatch.setattr(replay, "WAITING", 0.0)
    models = KeptModels().source()
    first = models.base("puppet", "cuda", "auto")
    wanted = video(first)
    assert torch.equal(video(first), wanted)
    second = models.base("puppet", "cuda", "auto")
    for _ in range(2):
        assert torch.equal(video(second), wanted)
    for each in (first, second):
        assert each.recorder is not None and each.recorder.recorded == 1


def test_motions_are_loaded_while_steps_are_recorded_and_replayed(backbone, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    store = DeltaStore(tmp_path)
    deltas = [MotionDelta(header(backbone, name=f"m{n}"), changed(backbone, n)) for n in range(6)]
    records = [store.resolve(store.publish(each, each.header.name)) for each in deltas]
    wanted = []
    for delta in deltas:
        with delta.applied(backbone):
            wanted.append(eager(backbone))
    # Two of them, which take half of that in bfloat16: one that is used and one that is loaded.
    room = deltas[0].nbytes + 2 * OVERHEAD
    config = PoolConfig(device_bytes=room, host_bytes=3 * room)
    pool = MotionPool(StoreSource(store), backbone, config)
    for number in range(24):
        following = records[(number + 1) % 6]
        with pool.lease(Mix.of([(records[number % 6], 1.0)])) as lease, lease.applied():
            pool.prefetch(Mix.of([(following, 1.0)]), "device")
            frames = itertools.cycle((4, 6, 8, 10))  # some steps are being recorded meanwhile
            for _ in range(400):
                video(backbone, frames=next(frames))
                assert torch.equal(video(backbone), wanted[number % 6])
                if pool.place(following) == "device":
                    break
            else:
                raise AssertionError("nothing was loaded to the device beside generations")
    assert pool.statistics().host.loads > 12
    pool.close()
    assert "cannot be recorded" not in caplog.text
    assert backbone.recorder is not None and backbone.recorder.recorded >= 1


def test_a_size_is_recorded_while_another_thread_loads_motions_all_the_time(
    backbone, tmp_path, caplog
):
    caplog.set_level(logging.WARNING)
    store = DeltaStore(tmp_path)
    deltas = [MotionDelta(header(backbone, name=f"m{n}"), changed(backbone, n)) for n in range(4)]
    records = [store.resolve(store.publish(each, each.header.name)) for each in deltas]
    room = deltas[0].nbytes + 2 * OVERHEAD
    pool = MotionPool(StoreSource(store), backbone, PoolConfig(device_bytes=room, host_bytes=room))
    ended, loads = threading.Event(), itertools.count()

    def load() -> None:
        while not ended.is_set():
            pool.lease(Mix.of([(records[next(loads) % 4], 1.0)])).release()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        sizes = (2, 4, 6, 8, 10, 12)
        for frames in sizes:
            for _ in range(2):
                assert torch.equal(video(backbone, frames=frames), eager(backbone, frames=frames))
    finally:
        ended.set()
        thread.join()
    pool.close()
    assert next(loads) > len(sizes)
    assert "cannot be recorded" not in caplog.text
    assert backbone.recorder is not None and backbone.recorder.recorded == len(sizes)


def test_what_waits_for_the_gpu_is_not_recorded(monkeypatch):
    monkeypatch.setattr(replay, "WAITING", 1.1)
    backbone = load_backbone("puppet", "cuda")
    for _ in range(3):  # a second one would be recorded
        assert torch.equal(video(backbone), eager(backbone))
    assert backbone.recorder is not None and backbone.recorder.recorded == 0


def test_the_embedded_model_waits_for_python_and_is_recorded():
    backbone = load_backbone("puppet", "cuda")
    for _ in range(3):
        assert torch.equal(video(backbone), eager(backbone))
    assert backbone.recorder is not None and backbone.recorder.recorded == 1


def test_what_cannot_be_recorded_runs_as_before(backbone, caplog):
    def look(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        float(given[0].sum())  # waits for the GPU, which a recording must not

    wanted = eager(backbone)
    handle = backbone.denoiser.register_forward_pre_hook(look)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(video(backbone), wanted)
    assert "cannot be recorded" in caplog.text
    assert backbone.recorder is not None and backbone.recorder.recorded == 0
    handle.remove()
    torch.cuda.empty_cache()  # a recording that goes on taking memory would refuse
    for _ in range(2):
        assert torch.equal(video(backbone, frames=6), eager(backbone, frames=6))
    assert backbone.recorder.recorded == 1


def test_recordings_that_make_room_for_others_leave_nothing_wrong(backbone, monkeypatch):
    """Sizes take turns; whatever memory a dropped recording gave back is filled by others."""
    monkeypatch.setattr(replay, "GRAPHS", 2)
    wanted = {frames: eager(backbone, frames=frames) for frames in (2, 4, 6, 8)}
    for _ in range(4):
        for frames, expected in wanted.items():
            assert torch.equal(video(backbone, frames=frames), expected)
            torch.cuda.empty_cache()
            filler = torch.full((2**24,), float("nan"), device="cuda")
            assert torch.equal(video(backbone, frames=frames), expected)
            del filler
    assert backbone.recorder is not None and 1 <= backbone.recorder.recorded <= 2
