"""Jester, the data set of the paper's experiments (section 4.1), as its owner gives it out.

Clips are folders of pictures (``20bn-jester-v1/34870/00001.jpg`` ..) at 12 frames a second; csv
files say which clip shows what. It needs an agreement with its owner and is the user's to bring.
Class numbers are those of the sorted labels, as TRN and its successors have it: with another order
every accuracy would be silently wrong. From it come the folders that customization takes: ten clips
of a gesture, fifty of each of two other classes, and clips of the gesture that were not trained on.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from motion_ray.errors import DataError
from motion_ray.evaluation.prompts import TOKEN
from motion_ray.temporaries import temporary_name

FPS = 12.0
#: Names of the files and of the folder of clips.
LABELS, TRAIN, VALIDATION = (f"jester-v1-{each}.csv" for each in ("labels", "train", "validation"))
FRAMES = "20bn-jester-v1"
#: The paper's five gestures, and how a natural caption says them. It gives the first; the others
#: are said in the same way.
GESTURES = {
    "Swiping Down": "swiping hand down",
    "Drumming Fingers": "drumming fingers",
    "Rolling Hand Forward": "rolling hand forward",
    "Shaking Hand": "shaking hand",
    "Sliding Two Fingers Up": "sliding two fingers up",
}
TOKEN_PHRASE = f"doing a {TOKEN} sign"
TEMPLATE = f"a person {TOKEN_PHRASE}"
#: Classes of the regularization clips, with the paper's captions.
REGULARIZATION = {
    "Doing other things": "a person doing other things",
    "No gesture": "a person in front of a computer",
}


@dataclass(frozen=True)
class JesterClip:
    """One clip and what it shows.

    Attributes:
        path: folder of its pictures.
        label: one of the data set's labels.
    """

    path: Path
    label: str

    def pictures(self) -> int:
        """How many pictures it has: its length, at :data:`FPS`."""
        return sum(1 for each in self.path.iterdir() if each.suffix == ".jpg")


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of ``jester-v1-labels.csv``, sorted: a class's number is its place here.

    Raises:
        DataError: the file cannot be read, is empty, or has a label twice.
    """
    labels = [row[0].strip() for row in _rows(path) if row and row[0].strip()]
    if not labels or len(set(labels)) != len(labels):
        raise DataError(str(path), "holds each label once", "use the file of the data set")
    return tuple(sorted(labels))


def read_split(path: Path, frames: Path, labels: Sequence[str]) -> list[JesterClip]:
    """The clips of ``jester-v1-train.csv`` or ``jester-v1-validation.csv``, in its order.

    Args:
        path: rows ``34870;Drumming Fingers``.
        frames: the folder ``20bn-jester-v1``.
        labels: that there are, see :func:`read_labels`.

    Raises:
        DataError: a row is something else, has an unknown label, or its clip is missing.
    """
    clips = []
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}, line {number}"
        if len(row) != 2 or not row[0].strip().isdigit():
            raise DataError(where, "a line is id;label", "for example 34870;Drumming Fingers")
        label = row[1].strip()
        if label not in labels:
            raise DataError(where, f"there is no label {label!r}", "use the files of one release")
        clip = JesterClip(frames / row[0].strip(), label)
        if not clip.path.is_dir():
            raise DataError(where, f"its clip {clip.path} is not there", "unpack all archives")
        clips.append(clip)
    return clips


def choose_clips(
    clips: Sequence[JesterClip],
    label: str,
    count: int,
    seed: int,
    *,
    after: int = 0,
    least: int = 1,
) -> list[JesterClip]:
    """Some clips of a class by lot.

    Args:
        clips: of one split.
        label: the class.
        count: how many, at least 1.
        seed: the same seed puts them into the same order.
        after: how many of that order to pass over, so that two choices share no clip.
        least: pictures that a clip has to have.

    Raises:
        DataError: there are fewer, or none is asked for.
    """
    if count < 1:
        raise DataError(label, f"at least 1 clip is chosen, got {count}", "for example 10")
    own = [clip for clip in clips if clip.label == label and clip.pictures() >= least]
    if len(own) < after + count:
        rule = f"has {len(own)} clips of at least {least} pictures, not {after + count}"
        raise DataError(label, rule, "ask for fewer, or for shorter ones")
    return random.Random(f"jester {label} {seed}").sample(own, len(own))[after : after + count]


def write_gesture_folder(
    folder: Path, label: str, clips: Sequence[JesterClip], token: str = "pll"
) -> None:
    """A motion folder (D^m) of clips of one class, linked to the data set's pictures.

    Args:
        folder: must not exist, or hold just these clips; then it is kept.
        label: of the clips; one of :data:`GESTURES` has its natural words.
        clips: of that class.
        token: V*.

    Raises:
        DataError: the folder is there already with something else, or cannot be written.
    """
    settings = {
        "token": token,
        "template": TEMPLATE,
        "description": GESTURES.get(label, label.lower()),
        "flip": False,  # a swipe to the left is another class than one to the right
    }
    captioned = [(clip, TEMPLATE) for clip in clips]
    _write(folder, settings, captioned)


def write_regularization_folder(
    folder: Path, clips: Sequence[JesterClip], each: int = 50, seed: int = 0, least: int = 1
) -> None:
    """A regularization folder (D^r): ``each`` clips of every class of :data:`REGULARIZATION`, of at
    least so many pictures.

    Raises:
        DataError: there are fewer, the folder is there already with something else (with just these
            clips it is kept), or it cannot be written.
    """
    captioned = [
        (clip, text)
        for label, text in REGULARIZATION.items()
        for clip in choose_clips(clips, label, each, seed, least=least)
    ]
    _write(folder, {}, captioned)


def _write(
    folder: Path, settings: dict[str, Any], captioned: Sequence[tuple[JesterClip, str]]
) -> None:
    """Fill a temporary beside ``folder`` and rename it: a folder that exists is complete."""
    entries = [{"file": clip.path.name, "caption": text} for clip, text in captioned]
    values = {"name": folder.name, **settings, "frame_fps": FPS, "clips": entries}
    if folder.exists():
        if _holds(folder, values, [clip for clip, _ in captioned]):
            return
        rule = "is there already with other clips or words than these"
        raise DataError(str(folder), rule, "name a new folder")
    temporary = folder.parent / temporary_name(folder.name)
    try:
        temporary.mkdir(parents=True)
        for clip, _ in captioned:
            (temporary / clip.path.name).symlink_to(clip.path.absolute())
        (temporary / "motion.yaml").write_text(yaml.safe_dump(values, sort_keys=False, width=1000))
        os.rename(temporary, folder)
    except OSError as error:
        rule = f"cannot be written: {error.strerror}"
        raise DataError(str(folder), rule, "check the disk and the permissions") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _holds(folder: Path, values: dict[str, Any], clips: Sequence[JesterClip]) -> bool:
    """Whether an earlier call wrote the same into the folder."""
    try:
        same = yaml.safe_load((folder / "motion.yaml").read_text()) == values
        return same and all(
            (folder / clip.path.name).readlink() == clip.path.absolute() for clip in clips
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # it is something else
        return False


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [row for row in csv.reader(stream, delimiter=";") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        rule = f"cannot be read: {error}"
        raise DataError(str(path), rule, "use the csv files of the data set") from None
