"""Changes in eight bits: never off by more than half a step, and refused when they do not fit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_ray.customization.quantized import (
    CODES,
    SCALE,
    check_codes,
    coded,
    expand,
    quantize,
    worth_quantizing,
)
from motion_ray.errors import DeltaError

LARGEST = torch.finfo(torch.float32).max

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)
#: Powers of two over all of float32, its subnormal numbers included.
magnitudes = st.integers(-149, 126)


@st.composite
def changes(draw: st.DrawFn) -> Tensor:
    """Rows of very different sizes, some of them nothing but zeros."""
    shape = draw(shapes)
    count = math.prod(shape)
    numbers = st.floats(-1, 1, width=32, allow_subnormal=False)
    values = torch.tensor(draw(st.lists(numbers, min_size=count, max_size=count)))
    powers = draw(st.lists(magnitudes | st.none(), min_size=shape[0], max_size=shape[0]))
    rows = torch.tensor([0.0 if p is None else math.ldexp(1.0, p) for p in powers])
    return values.reshape(shape[0], -1).mul(rows[:, None]).reshape(shape)


@given(changes())
@settings(max_examples=300, deadline=None)
def test_no_value_is_off_by_more_than_half_a_step(difference):
    codes, scale = quantize(difference)
    assert (codes.dtype, codes.shape) == (torch.int8, difference.shape)
    assert (scale.dtype, scale.shape) == (torch.float32, difference.shape[:1])
    step = scale.double().view(-1, *[1] * (difference.dim() - 1))
    exactly = codes.double() * step  # 8 bits times 24 bits: nothing is rounded here
    off = (difference.double() - exactly).abs()
    assert (off <= step / 2 * (1 + 2**-40)).all()
    read = expand({"p" + CODES: codes, "p" + SCALE: scale}, "p", torch.zeros_like(difference))
    assert read.dtype == torch.float32
    assert ((read.double() - difference.double()).abs() <= step * (0.5 + 2**-17)).all()


@given(changes())
@settings(max_examples=100, deadline=None)
def test_codes_use_the_whole_range_and_rows_of_zeros_stay_zeros(difference):
    codes, scale = quantize(difference)
    highest = codes.int().abs().flatten(1).amax(1)
    moved = difference.abs().flatten(1).amax(1)
    assert (highest <= 127).all() and (scale > 0).all()
    assert (highest[moved >= 127 * 2.0**-126] == 127).all()
    assert (highest[moved == 0] == 0).all()
    assert torch.equal(quantize(-difference)[0], -codes)  # symmetric


def test_halves_go_to_the_even_code():
    codes, scale = quantize(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]))
    assert scale.tolist() == [1.0]
    assert codes.tolist() == [[127, 0, 2, 2, 0, -2]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, LARGEST])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        quantize(torch.tensor([[1.0, 2.0], [bad, 0.0]]))


@pytest.mark.parametrize(
    ("shape", "dtype", "worth"),
    [
        ((8, 8), torch.float32, True),
        ((8, 4), torch.float16, False),  # 32 + 32 bytes of 64
        ((8, 5), torch.float16, True),
        ((64,), torch.float32, False),
        ((), torch.float32, False),
        ((8, 0), torch.float32, False),
    ],
)
def test_small_values_stay_whole(shape, dtype, worth):
    assert worth_quantizing(torch.zeros(shape, dtype=dtype)) is worth


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a.int8"}, r"a\.int8_scale is missing, a\.int8 needs it"),
        ({"a.int8_scale"}, r"a\.int8 is missing, a\.int8_scale needs it"),
        ({"a", "a.int8", "a.int8_scale"}, "parameter a is there twice"),
    ],
)
def test_names_that_do_not_go_together(names, message):
    with pytest.raises(DeltaError, match=message):
        coded(names, "delta")


def test_parameters_in_codes_and_whole():
    assert coded({"b", "a.int8_scale", "a.int8"}, "delta") == ["a", "b"]


@pytest.mark.parametrize(
    ("codes", "scale", "message"),
    [
        ((2, 4), [1.0, 1.0], r"has shape \[2, 4\]"),
        ((2, 3), [1.0], r"scales of a have shape \[1\]"),
        ((2, 3), [1.0, 0.0], "zero, negative or too large"),
        ((2, 3), [1.0, -1.0], "zero, negative or too large"),
        ((2, 3), [1.0, math.nan], "zero, negative or too large"),
        ((2, 3), [1.0, 3e38], "zero, negative or too large"),
    ],
)
def test_codes_that_do_not_fit(codes, scale, message):
    tensors = {
        "a.int8": torch.zeros(codes, dtype=torch.int8),
        "a.int8_scale": torch.tensor(scale),
    }
    base = {"a": torch.zeros(2, 3, device="meta")}
    with pytest.raises(DeltaError, match=message):
        check_codes(tensors, "a", base, "delta")
    with pytest.raises(DeltaError, match="has no such parameter"):
        check_codes(tensors, "a", {}, "delta")
