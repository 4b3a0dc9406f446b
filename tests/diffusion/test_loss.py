"""Training targets against hand-computed values, for every prediction type and for zero terminal
SNR."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from motion_ray.diffusion.loss import NoiseSchedule, build_scheduler, denoising_loss
from motion_ray.errors import BaseModelError

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def config(prediction_type: str, **more) -> dict:
    return {**BETAS, "prediction_type": prediction_type, **more}


@pytest.fixture
def example():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 2, 2, generator=generator)
    noise = torch.randn(2, 4, 3, 2, 2, generator=generator)
    return latents, noise, torch.tensor([10, 900])


def test_noise_is_added_as_in_the_paper(example):
    latents, noise, t = example
    schedule = NoiseSchedule(config("epsilon"))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = torch.cumprod(1 - betas, 0)[t].view(-1, 1, 1, 1, 1)
    expected = abar.sqrt() * latents + (1 - abar).sqrt() * noise
    torch.testing.assert_close(
        schedule.add_noise(latents, noise, t), expected, rtol=1e-5, atol=1e-5
    )


def test_targets_of_each_prediction_type(example):
    latents, noise, t = example
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = torch.cumprod(1 - betas, 0)[t].view(-1, 1, 1, 1, 1)
    assert torch.equal(NoiseSchedule(config("epsilon")).target(latents, noise, t), noise)
    assert torch.equal(NoiseSchedule(config("sample")).target(latents, noise, t), latents)
    velocity = NoiseSchedule(config("v_prediction")).target(latents, noise, t)
    torch.testing.assert_close(
        velocity, abar.sqrt() * noise - (1 - abar).sqrt() * latents, rtol=1e-5, atol=1e-5
    )


def test_zero_terminal_snr_ends_in_pure_noise(example):
    latents, noise, _ = example
    last = torch.tensor([999, 999])
    rescaled = NoiseSchedule(config("v_prediction", rescale_betas_zero_snr=True))
    torch.testing.assert_close(rescaled.add_noise(latents, noise, last), noise, atol=1e-5, rtol=0)
    plain = NoiseSchedule(config("v_prediction")).add_noise(latents, noise, last)
    assert float((plain - noise).abs().max()) > 1e-2


def test_training_schedule_equals_the_samplers_schedule():
    settings = config("v_prediction", rescale_betas_zero_snr=True)
    sampler = DDIMScheduler(**settings)
    trained = NoiseSchedule(settings)._scheduler.alphas_cumprod
    torch.testing.assert_close(trained, sampler.alphas_cumprod)


def test_unknown_prediction_type_is_refused():
    with pytest.raises(BaseModelError, match="prediction_type"):
        NoiseSchedule(config("flow"))


def test_loss_is_the_mean_square_of_each_example():
    prediction = torch.zeros(2, 1, 1, 1, 2)
    target = torch.tensor([[1.0, 3.0], [0.0, 2.0]]).view(2, 1, 1, 1, 2)
    torch.testing.assert_close(denoising_loss(prediction, target), torch.tensor([5.0, 2.0]))


def test_latents_are_clipped_only_where_the_config_says_so():
    """diffusers' DDIM clips by default, which configs of PNDM or Euler do not mention."""
    assert not build_scheduler(DDIMScheduler, config("epsilon")).config["clip_sample"]
    clips = config("epsilon", clip_sample=True)
    assert build_scheduler(DDIMScheduler, clips).config["clip_sample"]
