"""Timestep densities f(t): which noise levels training sees (paper section 3.2, "Learning the
motion patterns").

A density is a value with a pdf on the grid t = 0 .. T-1 and an exact sampler. Larger t is more
noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TimestepDensity(Protocol):
    """A distribution over training timesteps."""

    def pdf(self, timesteps: int) -> Tensor:
        """Probability of every t: float64 ``[T]``, non-negative, sums to 1."""
        ...

    def sample(self, count: int, timesteps: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` timesteps: int64 ``[count]`` in ``[0, T)``, on the generator's device."""
        ...


def sample_inverse_cdf(pdf: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Exact draws from a discrete pdf by inverting its CDF: t = min{t : F(t) > u}, u ~ U[0, 1).

    Args:
        pdf: float64 ``[T]``.
        count: number of draws.
        generator: source of randomness; the result lies on its device.
    """
    cdf = pdf.cumsum(0).to(generator.device)
    u = torch.rand(count, dtype=torch.float64, generator=generator, device=generator.device)
    # Rounding can leave F(T-1) a hair under 1, so that u could fall past the end.
    return torch.searchsorted(cdf, u, right=True).clamp_max(len(pdf) - 1)


@dataclass(frozen=True)
class Uniform:
    """Every timestep alike: f(t) = 1/T, the usual diffusion training."""

    def pdf(self, timesteps: int) -> Tensor:
        """Float64 ``[T]``."""
        return torch.full((timesteps,), 1.0 / timesteps, dtype=torch.float64)

    def sample(self, count: int, timesteps: int, generator: torch.Generator) -> Tensor:
        """Int64 ``[count]``."""
        return sample_inverse_cdf(self.pdf(timesteps), count, generator)


@dataclass(frozen=True)
class CoarseNoise:
    """f_alpha(t) = (1 - alpha cos(pi t / T)) / T: favours high noise, where motion is decided.

    Attributes:
        alpha: skewness in [0, 1]; 0 is uniform. The paper uses 0.5.
    """

    alpha: float = 0.5

    def pdf(self, timesteps: int) -> Tensor:
        """Float64 ``[T]``. The continuous density integrates to 1; on the grid it is normalised."""
        t = torch.arange(timesteps, dtype=torch.float64)
        density = 1.0 - self.alpha * torch.cos(math.pi * t / timesteps)
        return density / density.sum()

    def sample(self, count: int, timesteps: int, generator: torch.Generator) -> Tensor:
        """Int64 ``[count]``."""
        return sample_inverse_cdf(self.pdf(timesteps), count, generator)
