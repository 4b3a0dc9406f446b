"""Random values of settings, as pure functions of a seed.

A value depends on (seed, setting, sample number) and on nothing else. So a sweep has the same
trials on every machine, one more random setting leaves the values of the others as they were, and
more samples are added behind those that may have run already.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Distribution(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def at(self, share: float) -> Any:
        """The value below which ``share`` of the probability lies, 0 <= share < 1."""
        raise NotImplementedError


class _Range(_Distribution):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("a range has low below high")
        return self


class UniformValue(_Range):
    """Equal probability between ``low`` and ``high``."""

    kind: Literal["uniform"] = "uniform"

    def at(self, share: float) -> float:
        """See the base class."""
        return self.low + share * (self.high - self.low)


class LogUniformValue(_Range):
    """Equal probability for equal ratios between ``low`` and ``high``: for learning rates."""

    kind: Literal["loguniform"] = "loguniform"

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.low <= 0:
            raise ValueError("loguniform needs low above 0")
        return self

    def at(self, share: float) -> float:
        """See the base class."""
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))


class IntegerValue(_Distribution):
    """Whole numbers from ``low`` to ``high``, both included."""

    kind: Literal["randint"] = "randint"
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("a range has low below high")
        return self

    def at(self, share: float) -> int:
        """See the base class."""
        return self.low + int(share * (self.high - self.low + 1))


class ChoiceValue(_Distribution):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _finite(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise ValueError("numbers are finite")
        return values

    def at(self, share: float) -> Any:
        """See the base class."""
        return self.values[int(share * len(self.values))]


Distribution = Annotated[
    UniformValue | LogUniformValue | IntegerValue | ChoiceValue, Field(discriminator="kind")
]


def draw(distribution: Distribution, seed: int, setting: str, sample: int) -> Any:
    """The value of a setting in one sample.

    Args:
        distribution: of the value.
        seed: of the search.
        setting: its dotted name; two settings of one sample are independent.
        sample: 0, 1, ...
    """
    digest = hashlib.sha256(f"{seed}/{setting}/{sample}".encode()).digest()
    # 53 bits are what a float between 0 and 1 holds; the quotient stays below 1.
    return distribution.at((int.from_bytes(digest[:8], "big") >> 11) / 2**53)
