"""Settings by dotted name, ``optimizer.lr``, and the nested mappings that configs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``. No two settings may overlap (:func:`overlap`)."""
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        node = changes
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return changes


def look_up(values: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted setting.

    Raises:
        KeyError: there is no such setting.
    """
    node: Any = values
    for part in name.split("."):
        node = node[part]
    return node


def overlap(one: str, other: str) -> bool:
    """Whether two dotted settings are the same or one lies inside the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
