"""Settings of a server in a YAML file, and what a command line says beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motion_ray.yaml_files import read_mapping


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a file, not yet validated; without a file there are none.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    return {} if path is None else read_mapping(path, "docs/serving.md has an example")


def set_setting(values: dict[str, Any], path: str, value: object) -> None:
    """Put a value at ``a.b.c`` of nested settings; what is in the way and no section goes."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = values = inner if isinstance(inner, dict) else {}
    values[last] = value
