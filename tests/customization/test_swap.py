"""Which values count as finite; what exchanging them does is in test_delta_applied.py."""

from __future__ import annotations

import pytest
import torch

from motion_ray.customization.swap import are_finite

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_among_many_is_found(bad: float) -> None:
    check_that_it_is_found(bad, "cpu")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_in_one_piece_is_found(bad: float) -> None:
    check_that_it_is_found_in_one_piece(bad, "cpu")


def test_what_has_no_such_values_is_finite() -> None:
    check_that_nothing_is_found("cpu")


def check_that_it_is_found(bad: float, device: str) -> None:
    """In every type, at the ends and in between, alone and among tensors of all types."""
    others = [torch.ones(3, dtype=each, device=device) for each in FLOATS] * 50
    for dtype in FLOATS:
        for length in (1, 7, 1000):
            for place in {0, length // 2, length - 1}:
                tensor = torch.ones(length, dtype=dtype, device=device)
                assert are_finite(tensor)
                tensor[place] = bad
                assert not are_finite(tensor), (dtype, length, place)
                assert not are_finite(*others, tensor), (dtype, length, place)


def check_that_it_is_found_in_one_piece(bad: float, device: str) -> None:
    """Among as many as a motion has, of one type, in one piece of memory."""
    for dtype in FLOATS:
        piece = torch.ones(300 * 16, dtype=dtype, device=device)
        some = list(piece.split(16))
        assert are_finite(*some)
        for place in (0, 16 * 150 + 7, 300 * 16 - 1):
            piece[place] = bad
            assert not are_finite(*some), (dtype, place)
            piece[place] = 1
        piece[3], gaps = bad, [each[8:] for each in some]
        assert are_finite(*gaps)  # what lies between them does not count


def check_that_nothing_is_found(device: str) -> None:
    """In whole numbers, nothing at all, extremes, and what lies between the values of a slice."""
    whole = torch.full((4,), torch.iinfo(torch.int8).max, dtype=torch.int8, device=device)
    largest = torch.tensor([torch.finfo(torch.float16).max], dtype=torch.float16, device=device)
    assert are_finite() and are_finite(torch.empty(0, device=device))
    assert are_finite(whole, whole > 0, largest, -largest)
    assert are_finite(torch.tensor([1.0, float("nan"), 2.0, float("nan")], device=device)[::2])
