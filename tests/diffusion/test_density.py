"""Closed forms: the densities against their formulas and their samplers against their CDFs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from motion_ray.diffusion.density import CoarseNoise, Uniform, sample_inverse_cdf

T = 1000


@pytest.mark.parametrize(
    "density", [Uniform(), CoarseNoise(0.5), CoarseNoise(1.0), CoarseNoise(0.0)]
)
def test_pdf_sums_to_one_and_is_never_negative(density):
    pdf = density.pdf(T)
    assert pdf.dtype == torch.float64 and pdf.shape == (T,)
    assert float(pdf.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(pdf.min()) >= 0


def test_coarse_noise_follows_the_formula_of_the_paper():
    pdf = CoarseNoise(0.5).pdf(T)
    for t in (0, 250, 500, 999):
        assert float(pdf[t]) == pytest.approx((1 - 0.5 * math.cos(math.pi * t / T)) / T, rel=1e-3)
    assert float(pdf[999] / pdf[0]) == pytest.approx(3.0, rel=1e-3)  # 1.5 against 0.5


def test_alpha_zero_is_uniform():
    torch.testing.assert_close(CoarseNoise(0.0).pdf(T), Uniform().pdf(T))


@pytest.mark.parametrize("density", [Uniform(), CoarseNoise(0.5)])
def test_samples_follow_the_pdf(density):
    draws = density.sample(200_000, T, torch.Generator().manual_seed(0))
    counts = torch.bincount(draws, minlength=T).view(20, -1).sum(1)
    expected = density.pdf(T).view(20, -1).sum(1) * 200_000
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 0.001


def test_coarse_noise_is_not_uniform():
    """The test above could pass for any density if it had no power."""
    draws = CoarseNoise(0.5).sample(200_000, T, torch.Generator().manual_seed(0))
    counts = torch.bincount(draws, minlength=T).view(20, -1).sum(1)
    assert stats.chisquare(counts.numpy()).pvalue < 1e-6


def test_inverse_cdf_is_exact_at_its_steps():
    pdf = torch.tensor([0.0, 0.5, 0.0, 0.5], dtype=torch.float64)
    draws = sample_inverse_cdf(pdf, 1000, torch.Generator().manual_seed(1))
    assert set(draws.tolist()) == {1, 3}


def test_same_generator_same_draws():
    first, second = (CoarseNoise().sample(8, T, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
