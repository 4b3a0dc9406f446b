"""Counts with their uncertainty: how sure one can be of a share after so many videos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Share:
    """So many of so many.

    Attributes:
        right: the count.
        of: how many were looked at; with none there is no rate.
    """

    right: int
    of: int

    @property
    def rate(self) -> float:
        """Between 0 and 1; NaN of nothing."""
        return self.right / self.of if self.of else float("nan")

    def exact_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper and Pearson's, which covers the true share at least so often."""
        found = binomtest(self.right, self.of).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval, which stays inside 0..1 and is sound for few videos and rare events.

        It takes the videos as independent.
        """
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.right, self.of).proportion_ci(confidence, method="wilson")
        return float(found.low), float(found.high)

    def to_dict(self) -> dict[str, float | int | list[float] | None]:
        """For JSON, which knows no NaN."""
        rate = self.rate if self.of else None
        return {
            "right": self.right,
            "of": self.of,
            "rate": rate,
            "interval95": list(self.interval()),
        }

    def __str__(self) -> str:
        """For people: ``"83.3 % (76.1 to 88.7) of 120"``."""
        if not self.of:
            return "nothing was looked at"
        low, high = self.interval()
        return f"{self.rate:.1%} ({100 * low:.1f} to {100 * high:.1f}) of {self.of}"


def share_of(verdicts: Iterable[bool]) -> Share:
    """How many of them are true."""
    counted = list(verdicts)
    return Share(sum(counted), len(counted))
