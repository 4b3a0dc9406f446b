"""Write settings.md: every setting, from the models that check them.

``.venv/bin/python docs/settings.py``; a test says when it is due.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from motion_ray.cluster.serving import ServeArguments, ServingSettings
from motion_ray.config import CustomizationConfig
from motion_ray.recipes.puppet import puppet
from motion_ray.serving.requests import VideoRequest

PAGE = Path(__file__).parent / "settings.md"
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
UNIONS = (Union, types.UnionType)
LONGEST = 60  # characters of a value that is shown
HEAD = "| setting | values | default | |\n|---|---|---|---|"


TRAINING = """\
For `--set a.b=c` of `python -m jobs.customize`, for recipe files and for the grids of sweeps
([sweeps.md](sweeps.md)). A recipe has defaults of its own: `--recipe puppet` is for the embedded
base, `--recipe paper` for ZeroScope. Where puppet's differ, they stand in the last column."""
REQUEST = """\
The body of `POST /v1/videos` and `/v1/videos/sync` ([api.md](api.md)). `site.limits` of the server,
below, are ceilings beside those that stand here."""
ARGUMENTS = """\
`serve run deployments.app:build NAME=VALUE ..`, or `args` in `deployments/serve.yaml`
([serving.md](serving.md#on-ray-serve)). All of it may be left out. Address and port are Serve's
own: `http_options` in `serve.yaml`, or `serve start --http-port`."""
FILE = """\
`config=FILE` on Ray Serve, where the arguments above win, and device, threads, address and port are
not the file's to say. `python -m motion_ray.serving.http --config FILE` takes `site` without
`base_name`, `studio.pool`, `studio.disk_bytes` and `server`, and refuses the rest."""


def page() -> str:
    """The whole page."""
    parts = (
        "# Settings",
        "Written by `docs/settings.py` from the models that check them: change those, call it.\n"
        "A dot leads into a section; `null` is nothing.",
        *("## Of a training", TRAINING, _table(CustomizationConfig, puppet())),
        *("## Of a request for a video", REQUEST, _table(VideoRequest)),
        *("## Of a server, on its command line", ARGUMENTS, _table(ServeArguments)),
        *("## Of a server, in its file", FILE, _table(ServingSettings)),
    )
    return "\n\n".join(parts) + "\n"


def _table(model: type[BaseModel], recipe: BaseModel | None = None) -> str:
    rows = (f"| {' | '.join(row)} |" for row in _rows(model, "", recipe))
    return "\n".join((HEAD, *rows))


def _rows(model: type[BaseModel], prefix: str, recipe: Any) -> Iterator[tuple[str, str, str, str]]:
    """Name, values, default and meaning of every setting below a model."""
    for name, field in model.model_fields.items():
        path, own = f"{prefix}{name}", getattr(recipe, name, None)
        sections = _sections(field.annotation)
        if not sections or field.default is None:
            yield f"`{path}`", _values(field), _default(field), _meaning(field, recipe, own)
        for section in sections:  # several are alternatives, by kind
            yield from _rows(section, f"{path}.", own if isinstance(own, section) else None)
        for member in _members(field.annotation):
            yield from _rows(member, f"{path}[].", None)


def _sections(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) is Annotated or get_origin(kind) in UNIONS:
        return [each for part in get_args(kind) for each in _sections(part)]
    return []


def _members(kind: Any) -> list[type[BaseModel]]:
    """Sections of which there is a list."""
    if get_origin(kind) is tuple:
        return _sections(get_args(kind)[0])
    return [each for part in get_args(kind) for each in _members(part)]


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {_short(getattr(rule, name))}"
        for rule in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join((_kind(field.annotation), *bounds))


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in parts)
    if origin in UNIONS:
        return " or ".join("null" if each is type(None) else _kind(each) for each in parts)
    if origin is tuple:
        several = len(parts) == 2 and parts[1] is Ellipsis
        return f"list: {_kind(parts[0])}" if several else f"{len(parts)} times: {_kind(parts[0])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{each.value}`" for each in kind)
    words = {str: "text", bool: "true or false", int: "whole number", float: "number", Path: "path"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    return "" if field.is_required() else _short(field.get_default(call_default_factory=True))


def _meaning(field: FieldInfo, recipe: Any, own: Any) -> str:
    said = [field.description or ""]
    differs = recipe is not None and not field.is_required() and own != field.default
    if differs and not isinstance(own, BaseModel):
        said.append(f"puppet: {_short(own)}")
    return "; ".join(each for each in said if each).replace("|", "\\|").replace("<", "&lt;")


def _short(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        text = "[" + ", ".join(map(_short, value)) + "]"
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = str(value)
    if len(text) > LONGEST:
        return f"{len(value)} of them" if isinstance(value, tuple) else text[:LONGEST] + ".."
    return text.replace("|", "\\|").replace("<", "&lt;") or '""'


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
