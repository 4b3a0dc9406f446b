"""Stages `image` and `video`: from settings to a finished denoiser, with looks at it on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet3DConditionModel

from motion_ray.backbones.embedded import (
    load_denoiser,
    load_text,
    new_denoiser,
    prepare_denoiser,
)
from motion_ray.errors import BaseModelError
from motion_ray.pretraining.course import train_stage
from motion_ray.pretraining.denoiser import DenoiserTraining
from motion_ray.pretraining.denoiser_batches import Data, DenoiserSettings
from motion_ray.pretraining.latents import LATENTS, open_latents
from motion_ray.pretraining.previews import Previews
from motion_ray.pretraining.stage import Stage, StageWork
from motion_ray.pretraining.text import TEXT
from motion_ray.pretraining.vae import VAE
from motion_ray.pretraining.vocabulary import token_ids
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import WORLD, open_world

IMAGE, VIDEO = "image", "video"


def train_images(settings: DenoiserSettings, workspace: Workspace) -> StageWork:
    """Train on single frames, without temporal layers."""
    return _train(IMAGE, settings, workspace)


def train_videos(settings: DenoiserSettings, workspace: Workspace) -> StageWork:
    """Train everything on clips, from the image model or the weights of ``--init``."""
    return _train(VIDEO, settings, workspace)


def _train(stage: str, settings: DenoiserSettings, workspace: Workspace) -> StageWork:
    images = stage == IMAGE
    data = _data(workspace)
    unet = prepare_denoiser(_start(stage, settings, data, workspace), workspace.device)
    training = DenoiserTraining(settings, unet, data, images, workspace)
    average = training.average.module
    assert isinstance(average, UNet3DConditionModel)
    previews = None
    if workspace.replicas.first:
        previews = Previews(
            stage, average, images, settings.sheet_videos, settings.precision, workspace
        )
    for progress in train_stage(training, stage, settings, workspace):
        if previews is not None and _is_due(progress.done, settings):
            previews.take(progress.done)
        yield progress
    if previews is None:
        return {}

    def write(folder: Path) -> None:
        average.cpu().save_pretrained(str(folder / "unet"), safe_serialization=True)

    workspace.write_model(stage, write)
    return previews.scores(settings.steps)


def _is_due(step: int, settings: DenoiserSettings) -> bool:
    return step > 0 and (step % settings.sheet_every == 0 or step == settings.steps)


def _start(
    stage: str, settings: DenoiserSettings, data: Data, workspace: Workspace
) -> UNet3DConditionModel:
    channels = data.latents.row_shape[0]
    text_width = int(data.encoder.config.hidden_size)
    if workspace.start is not None:
        unet = load_denoiser(workspace.start)
        has = unet.config["in_channels"], unet.config["cross_attention_dim"]
        if has != (channels, text_width):
            raise BaseModelError(
                f"--init {workspace.start}",
                f"reads {has[0]} latent channels and text of width {has[1]}, "
                f"but the work folder has {channels} and {text_width}",
                "start from another model, or leave --init out",
            )
        return unet
    if stage == VIDEO:
        return load_denoiser(workspace.finished_model(IMAGE))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # modules draw their start from the global generator
        return new_denoiser(settings.width, settings.head, channels, text_width)


def _data(workspace: Workspace) -> Data:
    encoder, tokenizer = load_text(workspace.finished_model(TEXT))
    captions = open_world(workspace).captions
    each = len(captions[0])
    ids = token_ids(tokenizer, [text for texts in captions for text in texts])
    return Data(
        latents=open_latents(workspace),
        tokens=ids.view(len(captions), each, -1),
        empty=token_ids(tokenizer, [""])[0],
        encoder=encoder.to(workspace.device),  # pyright: ignore[reportArgumentType]
    )


IMAGE_SETTINGS = DenoiserSettings(steps=8000, batch=64, lr=1.2e-3, lr_floor=0.25)
VIDEO_SETTINGS = DenoiserSettings(steps=12000, batch=16, lr=1e-3, coarse=0.5)
TINY_SETTINGS = DenoiserSettings(
    steps=6,
    batch=4,
    frames_batch=4,
    frames_every=3,
    warmup=2,
    width=16,
    head=8,
    precision="fp32",
    log_every=2,
    checkpoint_every=2,
    sheet_every=6,
    sheet_videos=1,
)
NEEDS = (WORLD, TEXT, VAE, LATENTS)

IMAGE_STAGE = Stage(
    name=IMAGE,
    needs=NEEDS,
    full=IMAGE_SETTINGS,
    tiny=TINY_SETTINGS,
    work=train_images,
    may_start=True,
)
VIDEO_STAGE = Stage(
    name=VIDEO,
    needs=NEEDS,
    full=VIDEO_SETTINGS,
    tiny=replace(TINY_SETTINGS, coarse=0.5),
    work=train_videos,
    continues=IMAGE,
    may_start=True,
)
