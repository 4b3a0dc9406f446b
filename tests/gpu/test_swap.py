"""Looking for values that are not finite, where one kernel looks at all tensors."""

from __future__ import annotations

import pytest

from tests.customization.test_swap import (
    check_that_it_is_found,
    check_that_it_is_found_in_one_piece,
    check_that_nothing_is_found,
)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_among_many_is_found(bad: float) -> None:
    check_that_it_is_found(bad, "cuda")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_in_one_piece_is_found(bad: float) -> None:
    check_that_it_is_found_in_one_piece(bad, "cuda")


def test_what_has_no_such_values_is_finite() -> None:
    check_that_nothing_is_found("cuda")
