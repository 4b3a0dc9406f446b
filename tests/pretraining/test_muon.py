"""The optimizer of the denoiser's matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motion_ray.pretraining.muon import SCALE, Muon, orthogonal


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.5 and float(values.max()) < 1.35
    polar = u @ vh
    assert float((made * polar).sum() / made.norm() / polar.norm()) > 0.97


def test_a_convolution_moves_like_the_matrix_it_is() -> None:
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(6, 4, 3, 1, 1, generator=generator)
    conv = nn.Parameter(torch.zeros(6, 4, 3, 1, 1))
    matrix = nn.Parameter(torch.zeros(6, 12))
    conv.grad, matrix.grad = gradient, gradient.flatten(1)
    Muon([conv, matrix], lr=0.1).step()
    assert torch.equal(conv.detach().flatten(1), matrix.detach())
    ahead = gradient.lerp(torch.zeros_like(gradient).lerp(gradient, 0.05), 0.95).flatten(1)
    expected = -0.1 * SCALE * 12**0.5 * orthogonal(ahead)
    torch.testing.assert_close(matrix.detach(), expected)


def test_it_finds_the_least_squares_solution() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, true = torch.randn(64, 8, generator=generator), torch.randn(8, 5, generator=generator)
    weights = nn.Parameter(torch.zeros(8, 5))
    optimizer = Muon([weights], lr=0.1, weight_decay=0.0)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimizer.zero_grad()
        ((inputs @ (weights - true)) ** 2).mean().backward()
        optimizer.step()
    assert float((weights.detach() - true).abs().max()) < 0.02


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="AdamW"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
