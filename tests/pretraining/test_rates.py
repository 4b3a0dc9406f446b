"""Learning rate and running average, against their formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from motion_ray.pretraining.rates import running_average, warm_cosine


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine_to_its_floor() -> None:
    rates = [warm_cosine(step, 1000, 10, 0.1) for step in range(1000)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)], rel=1e-3)
    assert rates[500] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[250] == pytest.approx(0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi / 4)))
    assert rates[-1] == pytest.approx(0.1, abs=1e-4)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_the_average_leans_on_what_is_new_while_it_is_young() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = running_average(module, share=0.02)
    expected = 0.0
    for update in range(600):
        value = float(update % 7)
        with torch.no_grad():
            module.weight.fill_(value)
        average.update_parameters(module)
        share = max(0.02, min(0.1, 10 / (update + 10)))
        expected = value if update == 0 else expected + share * (value - expected)
    assert float(average.module.weight) == pytest.approx(expected, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in average.parameters())
