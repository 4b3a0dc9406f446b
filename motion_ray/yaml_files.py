"""YAML files that people write."""

from __future__ import annotations

import re
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
    # Dates that do not exist, such as 2024-02-30, values that are none of their tag, such as
    # !!bool x, and many brackets raise what is no YAMLError.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as fault:
        raise ConfigError(path, f"is not valid YAML ({_explained(fault)})", example) from None


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


def _explained(fault: Exception) -> str:
    """What is wrong, and where. Not what stands there, as YAML's own message has it: that may be a
    password, whose odd characters are at fault.
    """
    if isinstance(fault, yaml.MarkedYAMLError) and fault.problem_mark is not None:
        problem = fault.problem or "it ends too early"
        problem = re.sub(r"\b(tag handle|tag|alias|anchor) [^a-z].*", r"\1", problem)
        mark = fault.problem_mark
        return f"{problem} in line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(fault, yaml.YAMLError):
        return str(fault).splitlines()[0]
    if isinstance(fault, RecursionError):
        return "it is nested too deeply"
    return "a number, a date or a value with a tag in it does not exist"
