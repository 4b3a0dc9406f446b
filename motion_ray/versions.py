"""Versions of the libraries that shape a result, for headers of deltas and reports."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "motion-ray",
    "torch",
    "diffusers",
    "transformers",
    "deepspeed",
    "ray",
    "open_clip_torch",
)


def installed_versions() -> dict[str, str]:
    """Name to version; a library that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
