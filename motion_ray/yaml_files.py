"""YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from motion_ray.errors import ConfigError


def read_yaml(path: Path, example: str) -> Any:
    """What a YAML file holds.

    Args:
        path: of the file.
        example: of what it could hold, for messages.

    Raises:
        ConfigError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as fault:
        rule = f"cannot be read: {(fault.strerror or str(fault)).lower()}"
        raise ConfigError(path, rule, example) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "is not UTF-8 text", "save it as UTF-8") from None
    # Dates that do not exist, such as 2024-02-30, and many brackets raise what is no YAMLError.
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        rule = f"is not valid YAML ({' '.join(str(fault).split())})"
        raise ConfigError(path, rule, example) from None


def read_mapping(path: Path, example: str) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds an empty one.

    Args:
        path: of the file.
        example: of what it could hold, for messages.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    content = read_yaml(path, example)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(path, "is no mapping of settings", example)
    return {str(key): value for key, value in content.items()}
