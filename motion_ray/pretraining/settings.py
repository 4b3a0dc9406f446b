"""Settings of a training, changed by name as on a command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

from motion_ray.errors import ConfigError
from motion_ray.precision import check_precision

#: Settings that are a share of something, or a density's skewness: at most 1, whoever has them.
SHARES = frozenset(
    {
        "average",
        "caption_dropout",
        "coarse",
        "lr_floor",
        "round_trip_share",
        "smoothing",
        "strange",
    }
)


class Settings(Protocol):
    """A frozen dataclass of numbers and words; ``MAY_BE_ZERO`` names what need not be positive."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    MAY_BE_ZERO: ClassVar[frozenset[str]]


S = TypeVar("S", bound=Settings)


def change_settings(settings: S, assignments: Sequence[str]) -> S:
    """Settings with ``name=value`` changes.

    Args:
        settings: where to start.
        assignments: for example ``["steps=10", "lr=1e-3"]``.

    Raises:
        ConfigError: there is no such setting, or the value is of another type, not positive, not
            finite, more than 1 of a share, or no precision.
    """
    known = {field.name: type(getattr(settings, field.name)) for field in fields(settings)}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in known:
            raise ConfigError(
                f"--set {name}", "there is no such setting", f"known: {', '.join(known)}"
            )
        example = f"for example {name}={getattr(settings, name)}"
        try:
            value = known[name](text)
        except ValueError:
            raise ConfigError(
                f"--set {name}", f"is {known[name].__name__}, got {text!r}", example
            ) from None
        if not isinstance(value, str) and (
            value < 0 or (value == 0 and name not in settings.MAY_BE_ZERO)
        ):
            raise ConfigError(f"--set {name}", "is positive", example)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"--set {name}", f"is finite, got {text!r}", example)
        if name in SHARES and float(value) > 1:
            raise ConfigError(f"--set {name}", f"is at most 1, got {text!r}", example)
        if name == "precision":
            check_precision(str(value), f"--set {name}")
        settings = replace(settings, **{name: value})
    return settings
