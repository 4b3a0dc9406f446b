"""Image and video training of the denoiser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.embedded import load_denoiser, load_text, new_denoiser, scheduler_config
from motion_ray.backbones.partition import partition_unet3d
from motion_ray.backbones.unet3d import EMBEDDED_FOLDER
from motion_ray.diffusion.loss import NoiseSchedule
from motion_ray.errors import BaseModelError, ConfigError
from motion_ray.pretraining.denoiser import DenoiserTraining, build_optimizers
from motion_ray.pretraining.denoiser_batches import Data, DenoiserSettings, draw_batch, on_frames
from motion_ray.pretraining.denoiser_stage import IMAGE_STAGE, VIDEO_STAGE
from motion_ray.pretraining.latents import open_latents
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.vocabulary import token_ids
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import open_world
from motion_ray.types import TEMPORAL
from tests.pretraining.conftest import CopyUpTo
from tests.pretraining.stopping import assert_a_killed_run_ends_alike, run

TINY = VIDEO_STAGE.tiny


@pytest.fixture(scope="module")
def data(finished: Workspace) -> Data:
    encoder, tokenizer = load_text(finished.model("text"))
    captions = open_world(finished).captions
    ids = token_ids(tokenizer, [text for texts in captions for text in texts])
    return Data(
        open_latents(finished),
        ids.view(len(captions), 2, -1),
        token_ids(tokenizer, [""])[0],
        encoder,
    )


def new_training(
    data: Data, tmp_path: Path, settings: DenoiserSettings = TINY, *, images: bool = False
) -> DenoiserTraining:
    torch.manual_seed(0)
    unet = new_denoiser(width=16, head=8, channels=4, text_width=32).eval()
    return DenoiserTraining(settings, unet, data, images, Workspace(tmp_path))


# --- the objective --------------------------------------------------------------------------------


def test_the_target_is_the_velocity_of_a_schedule_that_ends_in_pure_noise() -> None:
    schedule = NoiseSchedule(scheduler_config())
    latents, noise = torch.randn(2, 3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    root = torch.cumprod(1 - betas, 0).sqrt()
    signal = ((root - root[-1]) * root[0] / (root[0] - root[-1])).float()
    for t in (0, 400, 999):
        timesteps = torch.full((3,), t)
        a, b = signal[t], (1 - signal[t] ** 2).sqrt()
        noisy = schedule.add_noise(latents, noise, timesteps)
        torch.testing.assert_close(noisy, a * latents + b * noise, rtol=1e-4, atol=1e-5)
        target = schedule.target(latents, noise, timesteps)
        torch.testing.assert_close(target, a * noise - b * latents, rtol=1e-4, atol=1e-5)
    assert torch.equal(noisy, noise) and torch.equal(target, -latents)


def test_the_schedule_is_that_of_the_embedded_model() -> None:
    shipped = json.loads((EMBEDDED_FOLDER / "scheduler" / "scheduler_config.json").read_text())
    ours = scheduler_config()
    assert {k: ours[k] for k in shipped if not k.startswith("_")} == {
        k: v for k, v in shipped.items() if not k.startswith("_")
    }


# --- batches --------------------------------------------------------------------------------------


def test_a_batch_is_a_pure_function_of_its_step(data: Data) -> None:
    one, same, other = (draw_batch(TINY, data, False, 1000, step) for step in (3, 3, 4))
    assert torch.equal(one.noise, same.noise) and torch.equal(one.ids, same.ids)
    assert torch.equal(one.latents, same.latents) and torch.equal(one.timesteps, same.timesteps)
    assert not torch.equal(one.noise, other.noise)


def test_captions_are_those_of_their_clips_or_empty(data: Data) -> None:
    settings = replace(TINY, batch=400, caption_dropout=0.25)
    batch = draw_batch(settings, data, False, 1000, 0)
    whole = data.latents.take(torch.arange(24)).float().flatten(1)
    empty = 0
    for latents, ids in zip(batch.latents, batch.ids, strict=True):
        [clip] = (whole == latents.flatten()).all(1).nonzero().flatten().tolist()
        if torch.equal(ids, data.empty):
            empty += 1
        else:
            assert any(torch.equal(ids, told) for told in data.tokens[clip])
    assert 70 <= empty <= 130


def test_single_frames_are_frames_of_clips_at_every_so_many_updates(data: Data) -> None:
    settings = replace(TINY, batch=4, frames_batch=6, frames_every=3)
    shapes = [tuple(draw_batch(settings, data, False, 1000, s).latents.shape) for s in range(6)]
    assert shapes == [(4, 4, 8, 8, 8), (4, 4, 8, 8, 8), (6, 4, 1, 8, 8)] * 2
    images = draw_batch(settings, data, True, 1000, 0).latents
    frames = data.latents.take(torch.arange(24)).float().transpose(1, 2).flatten(0, 1)
    for image in images[:, :, 0]:
        assert (frames == image).flatten(1).all(1).any()
    assert not any(on_frames(replace(settings, frames_every=0), False, s) for s in range(9))


def test_clips_are_noised_coarsely_and_images_evenly(data: Data) -> None:
    settings = replace(TINY, batch=4000, coarse=0.5)
    clips = draw_batch(settings, data, False, 1000, 0).timesteps.double()
    images = draw_batch(settings, data, True, 1000, 0).timesteps.double()
    assert abs(float(images.mean()) - 499.5) < 20
    # Mean of 1 - alpha cos(pi t / T) on 0..T: T (1/2 + 2 alpha / pi^2).
    assert abs(float(clips.mean()) - 1000 * (0.5 + 2 * 0.5 / torch.pi**2)) < 20


def test_processes_share_a_batch_without_overlap(data: Data, tmp_path: Path) -> None:
    batch = draw_batch(TINY, data, False, 1000, 0)
    shares = [
        batch.shared(Workspace(tmp_path, replicas=Replicas(rank, 2))).timesteps for rank in (0, 1)
    ]
    assert torch.equal(torch.stack(shares, 1).flatten(), batch.timesteps)


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [True, False])
def test_image_training_leaves_temporal_layers_as_they_are(
    data: Data, tmp_path: Path, images: bool
) -> None:
    training = new_training(data, tmp_path, images=images)
    before = {name: p.clone() for name, p in training.unet.named_parameters()}
    for step in range(3):
        training.step(step)
    groups = partition_unet3d(training.unet)
    moved = {n for n, p in training.unet.named_parameters() if not torch.equal(p, before[n])}
    temporal = {name for name, group in groups.items() if group in TEMPORAL}
    assert moved >= set(groups) - temporal
    assert not moved & temporal if images else len(moved & temporal) > 0.9 * len(temporal)


def test_every_parameter_has_one_optimizer_and_matrices_inside_have_muon(
    data: Data, tmp_path: Path
) -> None:
    training = new_training(data, tmp_path)
    held = {
        name: [id(p) for group in optimizer.param_groups for p in group["params"]]
        for name, optimizer in training.optimizers.items()
    }
    named = {id(p): (name, p) for name, p in training.unet.named_parameters()}
    assert sorted(held["muon"] + held["adamw"]) == sorted(named)
    inner = [named[each] for each in held["muon"]]
    assert all(p.ndim > 1 for _, p in inner)
    assert not {name.partition(".")[0] for name, _ in inner} & {
        "conv_in",
        "conv_out",
        "time_embedding",
    }
    plain = build_optimizers(replace(TINY, optimizer="adamw"), training.trained)
    assert list(plain) == ["adamw"] and len(plain["adamw"].param_groups[0]["params"]) == len(named)
    with pytest.raises(ConfigError, match="muon, adamw"):
        build_optimizers(replace(TINY, optimizer="sgd"), training.trained)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_lowers_the_loss(data: Data, tmp_path: Path, optimizer: str) -> None:
    settings = replace(TINY, steps=40, batch=8, optimizer=optimizer, lr=3e-3, coarse=0.0)
    training = new_training(data, tmp_path, settings, images=True)
    losses = [training.step(step) for step in range(40)]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_the_report_splits_the_loss_of_clips_by_noise_level(data: Data, tmp_path: Path) -> None:
    training = new_training(data, tmp_path)
    losses = [training.step(step) for step in range(2)]  # two of clips
    timesteps = torch.cat([draw_batch(TINY, data, False, 1000, s).timesteps for s in range(2)])
    counts = torch.bincount(timesteps // 250, minlength=4)
    assert torch.equal(training.losses[1].long(), counts)
    training.step(2)  # of single frames
    report = training.report()
    assert report["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    parts = [q * int(n) for q, n in zip(report["quarters"], counts, strict=True) if n]
    assert sum(parts) / 8 == pytest.approx(report["loss"], rel=1e-5)
    assert training.report() == {"quarters": [None] * 4}


# --- stages ---------------------------------------------------------------------------------------


def test_killed_image_training_ends_with_the_same_bits(
    finished: Workspace, copy_up_to: CopyUpTo
) -> None:
    assert_a_killed_run_ends_alike(
        IMAGE_STAGE, IMAGE_STAGE.tiny, finished, copy_up_to("image"), stop_at=5
    )


@pytest.mark.slow
def test_killed_video_training_ends_with_the_same_bits(
    finished: Workspace, copy_up_to: CopyUpTo
) -> None:
    assert_a_killed_run_ends_alike(VIDEO_STAGE, TINY, finished, copy_up_to("video"), stop_at=3)


def test_video_training_goes_on_from_the_image_model(copy_up_to: CopyUpTo) -> None:
    workspace = copy_up_to("video")
    still = replace(TINY, steps=1, lr=1e-12, checkpoint_every=1, sheet_every=1)
    run(VIDEO_STAGE, still, workspace)
    after, before = (load_denoiser(workspace.model(stage)) for stage in ("video", "image"))
    for (name, a), b in zip(after.named_parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert (workspace.folder("video") / "sheets" / "step-000001.png").is_file()


@pytest.mark.slow
def test_scores_of_the_last_look_are_in_the_record_and_are_taken_once(
    copy_up_to: CopyUpTo,
) -> None:
    seen: list[float] = []

    def score(backbone: object) -> dict[str, float]:
        seen.append(float(len(seen)))
        return {"motion": seen[-1]}

    workspace = replace(copy_up_to("video"), score=score)
    settings = replace(TINY, steps=2, sheet_every=1, log_every=1, checkpoint_every=1)
    run(VIDEO_STAGE, settings, workspace, stop_at=2)
    run(VIDEO_STAGE, settings, workspace)
    assert seen == [0.0, 1.0]
    assert workspace.record("video").scores == {"motion": 1.0}
    lines = workspace.metrics("video").read()
    assert [line["step"] for line in lines] == [1, 1, 2, 2]


def test_weights_of_another_shape_are_no_start(
    copy_up_to: CopyUpTo, tiny_bases: dict[str, Path]
) -> None:
    workspace = replace(copy_up_to("image"), start=tiny_bases["v_prediction"])
    with pytest.raises(BaseModelError, match="text of width 16, but the work folder has 4 and 32"):
        run(IMAGE_STAGE, IMAGE_STAGE.tiny, workspace)
