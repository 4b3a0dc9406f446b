"""The stage that trains the autoencoder, and the latents it leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.embedded import load_vae, new_vae
from motion_ray.errors import ConfigError
from motion_ray.pretraining.latents import open_latents
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.settings import change_settings
from motion_ray.pretraining.vae import Autoencoding, VaeTraining, autoencoding_loss, psnr
from motion_ray.pretraining.vae_stage import STAGE, encode, latent_moments, normalise_latents
from motion_ray.pretraining.workspace import Workspace
from motion_ray.pretraining.world import open_world
from tests.pretraining.conftest import CopyUpTo
from tests.pretraining.stopping import assert_a_killed_run_ends_alike, run

TINY = STAGE.tiny


@pytest.fixture
def training(finished: Workspace, tmp_path: Path) -> VaeTraining:
    torch.manual_seed(0)
    settings = replace(TINY, lr=3e-3, warmup=1)
    frames = open_world(finished).frames
    return VaeTraining(settings, new_vae(8, 4), frames, Workspace(tmp_path))


def test_four_of_five_batches_are_crops_that_show_much(training: VaeTraining) -> None:
    shapes = [tuple(training._batch(step).pixels.shape) for step in range(5)]
    assert shapes == [(8, 3, 32, 32)] * 4 + [(2, 3, 64, 64)]
    frames = training._frames(16, torch.Generator().manual_seed(1))
    used = training._crops(frames, torch.Generator().manual_seed(2))
    training.settings = replace(training.settings, batch=16)
    drawn = training._crops(frames, torch.Generator().manual_seed(2))
    shown = [(pixels[..., 1:] - pixels[..., :-1]).abs().mean((1, 2, 3)) for pixels in (used, drawn)]
    assert torch.equal(shown[0].sort().values, shown[1].sort().values[8:])


@pytest.mark.parametrize("crop", [20, 4, 70, 72])
def test_crops_that_a_frame_does_not_have_are_refused(crop: int) -> None:
    with pytest.raises(ConfigError, match="crop: is a multiple of 8 and at most 64"):
        change_settings(TINY, [f"crop={crop}"])
    assert change_settings(TINY, ["crop=64"]).crop == 64


def test_the_noise_that_is_forgiven_is_within_its_bound(training: VaeTraining) -> None:
    strengths = torch.stack([training._batch(step).blur.std((1, 2, 3)) for step in range(4)])
    assert 0 < float(strengths.max()) < 0.06 * 1.5
    assert float(strengths.max()) > 2 * float(strengths.min())


def test_the_latents_spread_is_that_of_each_channel() -> None:
    mean = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    scaled = mean * torch.tensor([1.0, 2.0, 5.0])[:, None, None] + 3
    spread = Autoencoding(new_vae(8, 4), Replicas())._spread(scaled)
    torch.testing.assert_close(spread.flatten(), scaled.std((0, 2, 3), correction=0))


def test_the_loss_of_what_is_right_is_that_of_the_prior_alone() -> None:
    pixels, zeros = torch.rand(2, 3, 8, 8), torch.zeros(2, 4, 1, 1)
    assert float(autoencoding_loss(pixels, pixels, zeros, zeros)) == 0
    assert float(autoencoding_loss(pixels, pixels, zeros + 2, zeros)) == pytest.approx(2e-4 * 2)
    moved = autoencoding_loss(pixels + 0.5, pixels, zeros, zeros)
    assert float(moved) == pytest.approx(0.5 + 4 * 0.25)
    assert psnr(4.0) == 0 and psnr(0.04) == pytest.approx(20)


def test_training_lowers_the_loss(training: VaeTraining) -> None:
    losses = [training.step(0) for _ in range(30)]  # the same crops again and again
    assert losses[-1] < 0.7 * losses[0]
    assert training.report() == {}
    training.step(4)  # whole frames
    assert training.report()["psnr"] > 0 and training.report() == {}


def test_normalising_changes_latents_and_not_what_comes_back(finished: Workspace) -> None:
    torch.manual_seed(0)
    vae = new_vae(8, 4).eval()
    frames = open_world(finished).frames
    some = frames.take(torch.arange(2))
    before = encode(vae, some, "fp32")
    with torch.no_grad():
        decoded = vae.decode(before[:, :, 0]).sample
        logvar = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.logvar
    mean, deviation = latent_moments(vae, frames, TINY)
    normalise_latents(vae, mean, deviation)
    expected = (before - mean[:, None, None, None]) / deviation[:, None, None, None]
    torch.testing.assert_close(encode(vae, some, "fp32"), expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        again = vae.decode(expected[:, :, 0]).sample
        scaled = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.logvar
    torch.testing.assert_close(again, decoded, rtol=1e-3, atol=1e-4)
    assert torch.allclose(scaled, logvar - 2 * deviation.log()[:, None, None], atol=1e-3)
    for moment, value in zip(latent_moments(vae, frames, TINY), (0.0, 1.0), strict=True):
        assert torch.allclose(moment, torch.full_like(moment, value), atol=1e-3)


def test_a_killed_run_ends_with_the_same_bits(finished: Workspace, copy_up_to: CopyUpTo) -> None:
    assert_a_killed_run_ends_alike(STAGE, TINY, finished, copy_up_to("vae"), stop_at=3)


def test_it_can_start_from_a_finished_model(
    tiny_bases: dict[str, Path], copy_up_to: CopyUpTo
) -> None:
    base = tiny_bases["v_prediction"]
    workspace = replace(copy_up_to("vae"), start=base)
    still = replace(TINY, steps=1, lr=1e-12, checkpoint_every=1)
    run(STAGE, still, workspace)
    assert "start" in workspace.record("vae").inputs
    ours, theirs = load_vae(workspace.model("vae")), load_vae(base)
    for (name, a), b in zip(
        ours.encoder.named_parameters(), theirs.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=name)


def test_a_batch_that_cannot_be_shared_is_refused(copy_up_to: CopyUpTo) -> None:
    workspace = replace(copy_up_to("vae"), replicas=Replicas(0, 3))
    with pytest.raises(ConfigError, match=r"multiple of 12.*--set batch=12"):
        next(STAGE.work(TINY, workspace))


def test_the_latents_are_those_of_the_finished_model(finished: Workspace) -> None:
    latents, frames = open_latents(finished), open_world(finished).frames
    assert len(latents) == len(frames) and latents.row_shape == (4, 8, 8, 8)
    rows = torch.tensor([23, 0, 11])
    encoded = encode(load_vae(finished.model("vae")), frames.take(rows), "fp32")
    torch.testing.assert_close(latents.take(rows).float(), encoded, rtol=2e-3, atol=2e-3)
