"""What pydantic finds wrong with settings, in our terms: which one, the rule, and an example.

Also what kind of value a setting takes, which whoever reads a command line has to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from motion_ray.errors import ConfigError

LONGEST_EXAMPLE = 120  # characters
Place = Sequence[int | str]

#: An account with a password, an address with either of the places for one, or the word.
_SECRET = re.compile(r":[^@]*@|://.*[@?]|password|secret", re.IGNORECASE | re.DOTALL)


def setting_error(
    fault: ValidationError, kind: type[BaseModel], given: object, good: object
) -> ConfigError:
    """The first thing that is wrong with settings.

    Args:
        fault: what validation raised.
        kind: the model that they were validated as.
        given: the settings, as nested mappings.
        good: settings that are right, for an example; null for want of any.
    """
    first = fault.errors(include_url=False)[0]
    path = _as_written(given, first["loc"])
    where = ".".join(map(str, path)) or "config"
    if first["type"] == "extra_forbidden":
        known = ", ".join(_fields(kind, path[:-1])) or "nothing"
        return ConfigError(where, "there is no such setting", f"known here: {known}")
    rule = first["msg"].removeprefix("Value error, ")
    shown = ""
    if not isinstance(first["input"], Mapping):
        shown = _given(first["input"], _is_private(kind, path))
    held = ""
    if first["type"] in ("model_type", "model_attributes_type"):  # the second, of unions
        rule = "is a section of settings, and takes no value itself"
        held = f"settings of it: {', '.join(_fields(kind, path))}"
    fix = ", ".join(filter(None, (shown, held, _example(good, path, into=bool(held)))))
    return ConfigError(where, rule, fix)


def _given(value: object, private: bool) -> str:
    """What was given, unless it may hold a password: errors end up in logs."""
    text = repr(value)
    hidden = private or _SECRET.search(unquote(text))
    return "what was given may hold a password and is not shown" if hidden else f"got {text}"


def _as_written(given: object, place: Place) -> Place:
    """A place as users write it: pydantic also names the kind that was chosen of a union."""
    path: list[int | str] = []
    node = given
    for part in place:
        if isinstance(node, Mapping) and part not in node and node.get("kind") == part:
            continue
        path.append(part)
        node = _inside(node, part)
    return path


def _inside(node: Any, part: int | str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _example(good: object, path: Place, into: bool = False) -> str:
    """An assignment that would be right; nothing where it would be long.

    Of a section nothing either, or, to look ``into`` it, one of a setting that it holds.
    """
    names: list[str] = []
    node = good
    for part in path:
        if not isinstance(node, Mapping):  # of a list, all of it
            break
        names.append(str(part))
        node = node.get(part)
    while into and isinstance(node, Mapping):
        held = next(((k, v) for k, v in node.items() if v not in (None, "", {})), None)
        if held is None:
            break
        names.append(held[0])
        node = held[1]
    if not names or isinstance(node, Mapping) or (into and node is None):
        return ""
    text = f"for example {'.'.join(names)}={node if isinstance(node, str) else json.dumps(node)}"
    return text if len(text) <= LONGEST_EXAMPLE else ""


def _fields(kind: type[BaseModel], path: Place) -> list[str]:
    """Names of the settings in a section; none if there is no such section."""
    return sorted({name for section in _sections(kind, path) for name in section.model_fields})


def takes_text(kind: type[BaseModel], path: Place) -> bool:
    """Whether a setting is text, whatever that may look like; false if there is no such setting."""
    *parents, last = path
    fields = [s.model_fields[str(last)] for s in _sections(kind, parents) if last in s.model_fields]
    return bool(fields) and all(_is_text(field.annotation) for field in fields)


def _is_private(kind: type[BaseModel], path: Place) -> bool:
    """Whether a setting, or the section it is in, is one that is not to be repeated."""
    return any(
        not section.model_fields[str(name)].repr
        for depth, name in enumerate(path)
        for section in _sections(kind, path[:depth])
        if name in section.model_fields
    )


def _is_text(annotation: Any) -> bool:
    union = get_origin(annotation) in (Union, UnionType)
    options = set(get_args(annotation)) if union else {annotation}
    return str in options and options <= {str, NoneType}


def _sections(kind: type[BaseModel], path: Place) -> list[type[BaseModel]]:
    """The sections that a path may lead to: several where there is one of two kinds."""
    sections = [kind]
    for part in path:
        there = [s.model_fields[str(part)] for s in sections if part in s.model_fields]
        sections = [each for field in there for each in _models(field.annotation)]
    return sections


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field may hold: several for a union, such as one of two kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in get_args(annotation) for each in _models(part)]
