"""The stage that trains the decoder further."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.embedded import load_vae
from motion_ray.pretraining.decoder import STAGE, DecoderTraining, decoding_loss, moving_weight
from motion_ray.pretraining.latents import open_latents
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import open_world
from tests.pretraining.conftest import CopyUpTo
from tests.pretraining.stopping import assert_a_killed_run_ends_alike


@pytest.fixture
def training(finished: Workspace, tmp_path: Path) -> DecoderTraining:
    settings = replace(STAGE.tiny, lr=3e-3, warmup=1)
    frames, latents = open_world(finished).frames, open_latents(finished)
    vae = load_vae(finished.model("vae"))
    return DecoderTraining(settings, vae, frames, latents, Workspace(tmp_path))


def test_what_moves_counts_more() -> None:
    clips = torch.zeros(1, 5, 3, 4, 4)
    clips[0, 2, 1, 0, 3] = 0.5  # one pixel of one frame, in green
    weight = moving_weight(clips, clips[:, 2], 3.0)
    expected = torch.ones(1, 1, 4, 4)
    expected[..., 0, 3] = 3.0
    assert torch.equal(weight, expected)
    assert torch.equal(moving_weight(clips, clips[:, 0], 3.0), torch.ones(1, 1, 4, 4))


def test_the_loss_weighs_each_pixel() -> None:
    pixels, weight = torch.zeros(1, 3, 2, 2), torch.tensor([[[[2.0, 2.0], [1.0, 1.0]]]])
    assert float(decoding_loss(pixels, pixels, weight)) == 0
    # An even error has no edges: the mean weight times (|e| + 4 e^2).
    assert float(decoding_loss(pixels + 0.5, pixels, weight)) == pytest.approx(1.5 * 1.5)


def test_latents_and_pixels_are_of_the_same_frame(training: DecoderTraining) -> None:
    training.settings = replace(training.settings, forgiven=0.0, batch=3)
    latents, pixels, _ = training._batch(0)
    all_pixels = training.frames.take(torch.arange(24)).float() / 127.5 - 1
    all_latents = training.latents.take(torch.arange(24)).float()
    for one, picture in zip(latents, pixels, strict=True):
        places = (all_pixels == picture).all((2, 3, 4)).nonzero().tolist()
        assert any(torch.equal(all_latents[clip, :, frame], one) for clip, frame in places)


def test_training_lowers_the_loss(training: DecoderTraining) -> None:
    losses = [training.step(0) for _ in range(30)]  # the same batch again and again
    assert losses[-1] < 0.7 * losses[0]
    assert training.report()["psnr"] > 0


def test_a_killed_run_ends_with_the_same_bits(finished: Workspace, copy_up_to: CopyUpTo) -> None:
    killed = copy_up_to("decoder")
    assert_a_killed_run_ends_alike(STAGE, STAGE.tiny, finished, killed, stop_at=3)
    before, after = (load_vae(finished.model(stage)) for stage in ("vae", "decoder"))
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(after.encoder.state_dict()[name], value)
    moved = [
        not torch.equal(value, before.decoder.state_dict()[name])
        for name, value in after.decoder.state_dict().items()
    ]
    assert sum(moved) > 0.9 * len(moved)
