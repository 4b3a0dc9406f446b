"""Settings of a server in a YAML file, and what a command line says beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from motion_ray.errors import ConfigError

_EXAMPLE = "docs/serving.md has an example"


def read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a file, not yet validated; without a file there are none.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as fault:
        rule = f"cannot be read: {(fault.strerror or str(fault)).lower()}"
        raise ConfigError(path, rule, "name a file such as serving.yaml") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        rule = f"is not valid YAML ({str(fault).splitlines()[0]})"
        raise ConfigError(path, rule, _EXAMPLE) from fault
    if not isinstance(values, dict):
        raise ConfigError(path, "is no mapping of settings", _EXAMPLE)
    return values


def set_setting(values: dict[str, Any], path: str, value: object) -> None:
    """Put a value at ``a.b.c`` of nested settings; what is in the way and no section goes."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = values = inner if isinstance(inner, dict) else {}
    values[last] = value
