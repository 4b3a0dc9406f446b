"""Motion folders of the puppet world: what a user would film, drawn instead.

A motion folder (D^m) holds a few clips of one motion by one kind of puppet; a regularization folder
(D^r) holds clips of base motions whose captions do not name them: "a person doing other things".
Colours and places come in all combinations, those of the test split too: what is new in a test of a
customized motion is the character.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.captions import VAGUE_MOTIONS, caption, with_article
from motion_ray.data.puppets.motions import BASE_MOTIONS, MIRRORED_MOTIONS, NAMED_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.data.puppets.render import render_scene
from motion_ray.data.puppets.world import PuppetScene, sample_scene
from motion_ray.data.video import write_video
from motion_ray.errors import DataError
from motion_ray.evaluation.prompts import TOKEN
from motion_ray.temporaries import temporary_name

CRF = 10  # H.264 quality; at 64x64 pixels the usual value smears thin limbs
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class DrawnFolder:
    """What a folder holds, before it is drawn.

    Attributes:
        scenes: of the clips, in their order.
        motion_file: content of ``motion.yaml``. Its captions name kind, colour and place of every
            scene, so that other arguments, another seed among them, give other content.
    """

    scenes: list[PuppetScene]
    motion_file: dict[str, Any]


def plan_motion_folder(
    motion: str, clips: int = 10, seed: int = 0, kind: str = "person", token: str = "pll"
) -> DrawnFolder:
    """What :func:`write_motion_folder` writes for the same arguments.

    Raises:
        DataError: an unknown motion or kind, or no clips.
    """
    _check_motion("motion", motion)
    _check_kind_and_clips(kind, clips)
    scenes = _varied_scenes([motion], clips, kind, random.Random(f"motion {seed}"))
    doing = f"doing the {TOKEN}"
    settings = {
        "name": slug(motion),
        "token": token,
        "template": f"{with_article(kind)} {doing}",
        "description": motion,
        "flip": motion in MIRRORED_MOTIONS,
    }
    return _with_captions(settings, scenes, doing)


def plan_regularization_folder(
    clips: int = 60, seed: int = 0, kind: str = "person", avoid: str | None = None
) -> DrawnFolder:
    """What :func:`write_regularization_folder` writes for the same arguments.

    Raises:
        DataError: an unknown motion or kind, or no clips.
    """
    if avoid is not None:
        _check_motion("avoid", avoid)
    _check_kind_and_clips(kind, clips)
    motions = [motion for motion in BASE_MOTIONS if motion != avoid]
    scenes = _varied_scenes(motions, clips, kind, random.Random(f"regularization {seed}"))
    return _with_captions({"name": "other-things"}, scenes, VAGUE_MOTIONS[0])


def write_motion_folder(
    motion: str,
    folder: str | Path,
    clips: int = 10,
    seed: int = 0,
    kind: str = "person",
    token: str = "pll",
    on_progress: OnProgress | None = None,
) -> list[PuppetScene]:
    """Write D^m: clips of one motion in varied colours and places, and ``motion.yaml``.

    Args:
        motion: any that has a name; the held-out ones are new to the base model.
        folder: must not exist, or be empty.
        clips: how many.
        seed: decides every pixel.
        kind: who does it.
        token: V*; must be one word that the base model keeps whole.
        on_progress: called with clips written and their total.

    Returns:
        The scenes, in the order of the clips.

    Raises:
        DataError: an unknown motion or kind, no clips, or a folder that is not empty or cannot be
            written.
    """
    planned = plan_motion_folder(motion, clips, seed, kind, token)
    _write(Path(folder), planned, on_progress)
    return planned.scenes


def write_regularization_folder(
    folder: str | Path,
    clips: int = 60,
    seed: int = 0,
    kind: str = "person",
    avoid: str | None = None,
    on_progress: OnProgress | None = None,
) -> list[PuppetScene]:
    """Write D^r: clips of base motions, captioned "a blue person doing other things at night".

    Args:
        folder: must not exist, or be empty.
        clips: how many.
        seed: decides every pixel.
        kind: who does it.
        avoid: a motion that must not occur, if it is a base motion that is being customized.
        on_progress: called with clips written and their total.

    Returns:
        The scenes, in the order of the clips.

    Raises:
        DataError: an unknown motion or kind, no clips, or a folder that is not empty or cannot be
            written.
    """
    planned = plan_regularization_folder(clips, seed, kind, avoid)
    _write(Path(folder), planned, on_progress)
    return planned.scenes


def slug(motion: str) -> str:
    """The name of a motion as stores and folders write it: ``"swinging-arms"``."""
    return re.sub(r"[^a-z0-9]+", "-", motion.lower()).strip("-")


def _check_motion(argument: str, motion: str) -> None:
    # Improvising is no one motion: each clip of it would show another.
    if motion not in NAMED_MOTIONS:
        known = ", ".join(NAMED_MOTIONS)
        raise DataError(argument, f"there is no {motion!r} in the puppet world", f"one of: {known}")


def _check_kind_and_clips(kind: str, clips: int) -> None:
    if kind not in KINDS:
        raise DataError(
            "kind", f"there is no {kind!r} in the puppet world", f"one of: {', '.join(KINDS)}"
        )
    if clips < 1:
        raise DataError("clips", f"must be at least 1, got {clips}", "for example 10")


def _varied_scenes(
    motions: Sequence[str], clips: int, kind: str, rng: random.Random
) -> list[PuppetScene]:
    """Single puppets at normal speed; motions, colours and places come in shuffled rounds."""
    rounds = [_rounds(motions, rng), _rounds(tuple(COLOURS), rng), _rounds(tuple(PLACES), rng)]
    return [
        sample_scene(
            rng, [motion], kind=kind, colour=colour, place=place, count=1, speed="", compose=False
        )
        for _, motion, colour, place in zip(range(clips), *rounds, strict=False)
    ]


def _rounds(options: Sequence[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(options, len(options))


def _with_captions(
    settings: dict[str, Any], scenes: list[PuppetScene], motion_text: str
) -> DrawnFolder:
    entries = [
        {"file": f"{number:03d}.mp4", "caption": caption(scene, motion_text=motion_text)}
        for number, scene in enumerate(scenes)
    ]
    return DrawnFolder(scenes, {**settings, "clips": entries})


def _write(folder: Path, planned: DrawnFolder, on_progress: OnProgress | None) -> None:
    """Fill a temporary beside ``folder`` and rename it: a folder that exists is complete."""
    temporary = folder.parent / temporary_name(folder.name)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            rule = "is there already and not empty"
            raise DataError(str(folder), rule, "name a new folder, or remove this one")
        temporary.mkdir(parents=True)
        for number, scene in enumerate(planned.scenes):
            clip = render_scene(scene)
            name = planned.motion_file["clips"][number]["file"]
            write_video(temporary / name, clip.frames, clip.fps, crf=CRF)
            if on_progress is not None:
                on_progress(number + 1, len(planned.scenes))
        text = yaml.safe_dump(planned.motion_file, sort_keys=False, width=1000)
        (temporary / "motion.yaml").write_text(text)
        os.rename(temporary, folder)
    except OSError as error:
        rule = f"cannot be written: {(error.strerror or str(error)).lower()}"
        raise DataError(str(folder), rule, "name a folder that can be made and written") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
