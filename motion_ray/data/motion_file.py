"""``motion.yaml``: what may stand in it, and what is wrong with one that somebody wrote.

Nothing is raised here. Every problem is told, and what is valid is used, so that problems elsewhere
in the folder are found as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motion_ray.data.video import FRAME_FOLDER_FPS
from motion_ray.evaluation.prompts import TOKEN

MOTION_FILE = "motion.yaml"
_LARGEST_TEXT = 2**20  # bytes of a caption or of motion.yaml
_EXAMPLE = "for example token: pll"
_EXAMPLES = {
    "name": "name: swinging-arms",
    "template": f"template: a person doing the {TOKEN}",
    "description": "description: swinging both arms",
    "flip": "flip: true",
    "frame_fps": "frame_fps: 12",
    "pictures": "pictures: true",
    "clips": f"clips: [{{file: a.mp4, caption: a man doing the {TOKEN}}}]",
}

Tell = Callable[[str | Path, str, str], None]
"""Takes a problem: where it is, the rule, and the fix."""


class ClipEntry(BaseModel):
    """A clip that is listed."""

    model_config = ConfigDict(extra="forbid")
    file: str
    caption: str | None = None


class MotionFile(BaseModel):
    """Everything that may be said; :func:`motion_ray.data.clips.load_motion_folder` explains it."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = None
    token: str = "pll"
    template: str = f"a person doing the {TOKEN}"
    description: str = ""
    flip: bool = False
    frame_fps: float = Field(default=FRAME_FOLDER_FPS, gt=0, le=240)
    pictures: bool = False
    clips: list[ClipEntry] | None = None


def read_motion_file(folder: Path, tell: Tell) -> MotionFile:
    """What ``motion.yaml`` of a folder says; the defaults where it says nothing valid.

    Args:
        folder: need not hold one.
        tell: takes each problem.
    """
    path = folder / MOTION_FILE
    if not path.is_file():
        if path.with_suffix(".yml").is_file():
            tell(path.with_suffix(".yml"), "is not read", f"name it {MOTION_FILE}")
        return MotionFile()
    try:
        values = yaml.safe_load(read_text(path, tell))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        tell(path, f"is no valid YAML{line}: {error.problem}", _EXAMPLE)
        return MotionFile()
    except (yaml.YAMLError, ValueError, RecursionError):  # 2024-02-30, a thousand brackets
        tell(path, "is no valid YAML", _EXAMPLE)
        return MotionFile()
    values = {} if values is None else values
    if not isinstance(values, dict):
        tell(path, "holds keys and values", _EXAMPLE)
        return MotionFile()
    values = {str(key): value for key, value in values.items()}
    try:
        return MotionFile.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            tell(*_wrong(path, item["loc"], item["type"], item["msg"], item.get("input")))
        wrong = {item["loc"][0] for item in error.errors()}
        return MotionFile.model_validate({k: v for k, v in values.items() if k not in wrong})


def read_text(path: Path, tell: Tell) -> str:
    """Text of a caption or of ``motion.yaml``; empty, and told, if it is none."""
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            tell(path, "is larger than 1 MiB, so no text for us", "shorten it")
            return ""
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        tell(path, "is not UTF-8 text", "save it as UTF-8")
    except OSError as error:
        tell(path, f"cannot be read: {error.strerror}", "check the file")
    return ""


def _wrong(
    path: Path, place: tuple[int | str, ...], kind: str, message: str, value: object
) -> tuple[str, str, str]:
    """What pydantic finds wrong at a place, as a problem of ours."""
    where = f"{path}: {'.'.join(str(part) for part in place)}"
    if kind == "extra_forbidden":
        model = MotionFile if len(place) == 1 else ClipEntry
        known = ", ".join(model.model_fields)
        return where, "there is no such key", f"known here: {known}"
    given = "" if isinstance(value, dict | list) else f", got {value!r}"
    example = _EXAMPLES.get(str(place[0]), "token: pll")
    return where, message[:1].lower() + message[1:] + given, f"for example {example}"
