"""Lists of test prompts as data: the paper's 100, the puppet world's 100, or a user's own.

A report names its list and the sha256 of the file, so a number can be traced to every prompt behind
it. A list of the puppet world says what each prompt describes, so that a real clip of it can be
drawn for comparison.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import ConfigError
from motion_ray.evaluation.prompts import SLOT, EvalPrompt

EMBEDDED_FOLDER = Path(__file__).parent / "prompt_lists"
EMBEDDED = ("paper", "puppet")
Origin = Literal["figure", "guess", "text", "completed", "own"]


class Look(BaseModel):
    """What a prompt of the puppet world describes, besides the motion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    colour: str
    place: str
    seed: int = Field(ge=0, description="of the real clip that is drawn for comparison")
    count: int = Field(default=1, description="one puppet or two")
    speed: str = Field(default="", description="slowly, quickly, or neither")
    also: str | None = Field(default=None, description="a second motion, for the legs")

    def scene(self, motion: str) -> PuppetScene:
        """The scene in which it does a motion.

        Raises:
            DataError: a word that the world does not have.
        """
        return PuppetScene(
            *(self.kind, self.colour, self.place, motion),
            *(self.count, self.speed, self.also, self.seed),
        )


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    origin: Origin | None = None
    lines: int = Field(default=1, ge=1, description="how often the paper's figure was read so")
    as_read: str | None = Field(default=None, description="the damaged line, if it was damaged")
    look: Look | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    prompts: list[_Entry] = Field(min_length=1)


@dataclass(frozen=True)
class ListedPrompt:
    """One prompt of a list.

    Attributes:
        prompt: with its three renderings.
        origin: of the paper's list: read in its figure, a guess at an unreadable word, named in its
            text, or completed by us; ``"own"`` of other lists.
        look: what it describes in the puppet world, if it does.
    """

    prompt: EvalPrompt
    origin: Origin = "own"
    look: Look | None = None


@dataclass(frozen=True)
class PromptList:
    """Test prompts in their order.

    Attributes:
        name: for reports.
        sha256: of the file.
        prompts: all different.
    """

    name: str
    sha256: str
    prompts: tuple[ListedPrompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)


def load_prompt_list(name_or_file: str | Path) -> PromptList:
    """Read a list of prompts.

    Args:
        name_or_file: ``"paper"``, ``"puppet"``; or a .txt file with one prompt a line, or a .yaml
            file with ``name`` and ``prompts``, as the embedded ones are written. ``<motion>``
            stands for the motion.

    Raises:
        ConfigError: there is no such list, or it holds something else, or a prompt twice.
    """
    embedded = str(name_or_file) in EMBEDDED
    path = EMBEDDED_FOLDER / f"{name_or_file}.yaml" if embedded else Path(name_or_file).expanduser()
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(EMBEDDED)
        raise ConfigError(
            f"prompts {name_or_file}", f"cannot be read: {error}", f"a .txt or .yaml, or {known}"
        ) from None
    if path.suffix == ".txt":
        lines = [line.strip() for line in text.splitlines()]
        name, entries = path.stem, [_Entry(prompt=line) for line in lines if line]
        usual: Origin = "own"
    else:
        parsed = _parse(path, text)
        name, entries = parsed.name, parsed.prompts
        usual = "figure" if embedded and name == "paper" else "own"
    prompts = tuple(
        ListedPrompt(EvalPrompt(each.prompt), each.origin or usual, each.look) for each in entries
    )
    _check(path, prompts)
    return PromptList(name, hashlib.sha256(data).hexdigest(), prompts)


def _parse(path: Path, text: str) -> _File:
    try:
        return _File.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also a date that is none
        first = " ".join(str(error).split())[:200]
        raise ConfigError(
            str(path), f"is no list of prompts: {first}", f'for example - prompt: "a robot {SLOT}"'
        ) from None


def _check(path: Path, prompts: tuple[ListedPrompt, ...]) -> None:
    templates = [each.prompt.template for each in prompts]
    if not templates:
        raise ConfigError(str(path), "holds no prompts", f'for example "a robot {SLOT}"')
    twice = sorted({each for each in templates if templates.count(each) > 1})
    if twice:
        # Prompts are what intervals resample: one that counts twice would narrow them.
        raise ConfigError(str(path), f"holds {twice[0]!r} twice", "list every prompt once")
    for each in prompts:
        if not each.prompt.appearance():
            raise ConfigError(
                str(path),
                f"the prompt {each.prompt.template!r} says nothing but the motion",
                f'for example "a robot {SLOT}"',
            )
