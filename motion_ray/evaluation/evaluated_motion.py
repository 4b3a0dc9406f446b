"""The motions of an evaluation: what each is called, what to recognise, what it learned from.

A motion of the puppet world says all this by its name. Others are described in a file, since nobody
can guess that ``swiping`` should be recognised as "Swiping Down" and reads "swiping hand down" in a
caption (paper section 4.1).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from motion_ray.customization.delta import DeltaHeader
from motion_ray.data.puppets.folders import slug
from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.errors import ConfigError
from motion_ray.evaluation.prompts import DOING
from motion_ray.evaluation.training_clips import check_training_folder, training_hash
from motion_ray.store import DeltaStore
from motion_ray.yaml_files import read_mapping

logger = logging.getLogger(__name__)


class Target(BaseModel):
    """What is to be known about a motion besides its delta."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(min_length=1, description="class of the motion classifier")
    description: str = Field(min_length=1, description="in natural words: swiping hand down")
    phrase: str = Field(default=DOING, description="how a prompt asks for it, with <token>")
    training: str | None = Field(default=None, description="folder it was trained on")
    held_out: str | None = Field(default=None, description="folder of real clips of the motion")


@dataclass(frozen=True)
class EvaluatedMotion:
    """One delta of a store with everything that an evaluation asks about it.

    Attributes:
        name: of the motion in the store.
        reference: ``name@version``.
        delta: its content id.
        token: V*.
        target: what is to be recognised, and where real clips are.
        training: hash of the clips it was trained on, if their folder is there; else empty.
        recipe: that trained it.
        step: optimizer steps.
        training_seed: of its training, if known.
        clips: it was trained on the first so many of the folder; null: on all.
    """

    name: str
    reference: str
    delta: str
    token: str
    target: Target
    training: str
    recipe: str
    step: int
    training_seed: int | None
    clips: int | None = None


def read_targets(path: Path) -> dict[str, Target]:
    """Read a YAML file of motion names and what is known about them.

    Folders in it are relative to the file's own.

    Raises:
        ConfigError: it cannot be read, or says something else.
    """
    example = 'for example swiping: {label: Swiping Down, description: "swiping hand down"}'
    try:
        targets = TypeAdapter(dict[str, Target]).validate_python(read_mapping(path, example))
    except ValidationError as error:
        first = " ".join(str(error).split())[:200]
        raise ConfigError(str(path), f"does not describe motions: {first}", example) from None
    return {name: _resolved(target, path.parent) for name, target in targets.items()}


def describe_motions(
    store: DeltaStore, references: Sequence[str], targets: dict[str, Target]
) -> list[EvaluatedMotion]:
    """Look the motions up and check all that can be known before anything is generated.

    The folder of training clips is the target's, or the one that the delta's config names, if it is
    still there and has these clips. Without it copying and fidelity are not scored.

    Args:
        store: where the deltas are.
        references: ``name`` or ``name@version``.
        targets: by name; motions of the puppet world need none.

    Raises:
        StoreError, DeltaError: there is no such motion, or it is damaged.
        ConfigError: one is not described, listed twice, or was trained on other clips.
    """
    found = [_describe(store, reference, targets) for reference in references]
    twice = [each for each in found if [m.reference for m in found].count(each.reference) > 1]
    if twice:
        raise ConfigError("--motions", f"lists {twice[0].reference} twice", "list it once")
    return found


def _describe(store: DeltaStore, reference: str, targets: dict[str, Target]) -> EvaluatedMotion:
    record = store.resolve(reference)
    header = store.load(record.reference).header
    target = targets.get(record.name) or _puppet_target(record.name, header)
    folder = target.training or _own_folder(header)
    training, clips = "", _count(header, "motion_clips")
    if folder is not None:
        try:
            check_training_folder(folder, header.sources, clips)
            training = training_hash(header.sources)
        except ConfigError as error:
            if target.training is not None:
                raise
            # Nobody named this folder; it is where the clips once were.
            logger.warning("%s: copying and fidelity are not scored: %s", record.reference, error)
            folder = None
    return EvaluatedMotion(
        name=record.name,
        reference=record.reference,
        delta=record.sha256,
        token=record.token,
        target=target.model_copy(update={"training": folder}),
        training=training,
        recipe=record.recipe,
        step=record.step,
        training_seed=_count(header, "seed"),
        clips=clips,
    )


def _puppet_target(name: str, header: DeltaHeader) -> Target:
    for motion in NAMED_MOTIONS:
        if slug(motion) in (slug(name), slug(header.name)):
            return Target(label=motion, description=motion)
    raise ConfigError(
        f"motion {name!r}",
        "is none of the puppet world's, so nobody knows what to recognise",
        "describe it in a file and name that with --targets",
    )


def _count(header: DeltaHeader, setting: str) -> int | None:
    """A whole number of the config that trained a delta, if it is there."""
    value = header.config.get(setting)
    return value if isinstance(value, int) else None


def _own_folder(header: DeltaHeader) -> str | None:
    folder = header.config.get("motion")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        return None
    return str(Path(folder).absolute())


def _resolved(target: Target, here: Path) -> Target:
    folders = {name: getattr(target, name) for name in ("training", "held_out")}
    absolute = {
        name: str((here / Path(folder).expanduser()).absolute())
        for name, folder in folders.items()
        if folder is not None
    }
    return target.model_copy(update=absolute)
