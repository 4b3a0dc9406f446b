"""Errors of remote filesystems as ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from motion_ray.errors import MotionRayError

FIX = "check the address, the credentials and the space"


@contextlib.contextmanager
def reached(place: str, error: type[MotionRayError]) -> Iterator[None]:
    """What the library behind a filesystem of fsspec raises, which need not be OSError: botocore's
    missing credentials, for example. OSError, with FileNotFoundError, is left to the caller.

    Args:
        place: path or URI, for the message.
        error: what to raise.

    Raises:
        MotionRayError: of that class.
    """
    try:
        yield
    except (MotionRayError, OSError):
        raise
    except Exception as fault:
        rule = f"cannot be reached: {type(fault).__name__}: {fault}"
        raise error(place, rule, "check the address and the credentials") from fault


@contextlib.contextmanager
def written(place: str, error: type[MotionRayError]) -> Iterator[None]:
    """As :func:`reached`, where something is written: OSError is told too.

    Args:
        place: path or URI, for the message.
        error: what to raise.

    Raises:
        MotionRayError: of that class.
    """
    try:
        with reached(place, error):
            yield
    except OSError as fault:
        raise error(place, f"cannot be written: {fault}", FIX) from fault
