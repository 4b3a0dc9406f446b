"""Correction for asking many questions at once (S. Holm, 1979).

Of twenty comparisons without any difference one has p < 0.05. After Holm's correction, the chance
of even one false finding among all is at most 5 %, whatever depends on what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Question = TypeVar("Question")


def holm(p_values: Mapping[Question, float]) -> dict[Question, float]:
    """Corrected p values, in the order given: the i-th smallest of n is multiplied by n - i + 1,
    and none is below a smaller one's.

    Raises:
        ValueError: a p value is not between 0 and 1.
    """
    if any(not 0 <= p <= 1 for p in p_values.values()):
        raise ValueError("p values lie between 0 and 1")
    corrected: dict[Question, float] = {}
    highest = 0.0
    for rank, question in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[question]))
        corrected[question] = highest
    return {question: corrected[question] for question in p_values}
