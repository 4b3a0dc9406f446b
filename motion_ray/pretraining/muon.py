"""Muon: momentum whose update matrix is made orthogonal, for the weights that are matrices.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the scale of Liu et al. 2025
(arXiv:2502.16982), under which learning rates of AdamW fit. torch's own takes plain matrices only,
and most weights of a UNet are convolutions, taken here as matrices of output channels by the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic whose iterates bring all singular values near 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SCALE = 0.2  # root mean square of AdamW's updates, as found by Liu et al.


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; decoupled weight decay.

    Args:
        parameters: of two or more dimensions.
        lr: learning rate.
        momentum: share of the old average of gradients that is kept.
        weight_decay: times ``lr``, of the weights at every step.

    Raises:
        ValueError: a parameter is a vector.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            if any(parameter.ndim < 2 for parameter in group["params"]):
                raise ValueError("Muon trains matrices and convolutions; give vectors to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore
        """One update of all parameters that have a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average: Tensor = state["average"].lerp_(gradient, 1 - momentum)
        matrix = orthogonal(gradient.lerp(average, momentum).flatten(1))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        scale = SCALE * max(matrix.shape) ** 0.5
        parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix ``[m, n]`` with its singular values brought near 1 (0.7 to 1.2), in its type.

    Newton-Schulz iterations in bfloat16: the direction is all that is asked for.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.float().norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
