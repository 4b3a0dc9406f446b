"""The name that a trial has on every machine.

It is the hash of the whole config and of the content that the config points to: clips and captions,
regularization, base model, CLIP model. Paths are no part of it. So the same sweep gives the same
trials wherever its files lie, and a changed clip gives another trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motion_ray.backbones.folder import open_model_folder
from motion_ray.backbones.unet3d import EMBEDDED, EMBEDDED_FOLDER
from motion_ray.config import CustomizationConfig
from motion_ray.data.clips import (
    MotionFolder,
    content_hash,
    load_motion_folder,
    load_regularization_folder,
)
from motion_ray.errors import BaseModelError
from motion_ray.evaluation.clip import EMBEDDED_FOLDER as EMBEDDED_CLIP_FOLDER
from motion_ray.manifest import canonical_json, plain_files, sha256_of
from motion_ray.types import CaptionedClip

FORMAT = "motion_ray.trial/1"


class ContentHashes:
    """Digests of the folders that configs point to, each computed once."""

    def __init__(self) -> None:
        self._motions: dict[str, MotionFolder] = {}
        self._digests: dict[tuple[str, str], str] = {}

    def motion(self, folder: str) -> MotionFolder:
        """A motion folder, read once.

        Raises:
            DataError: it cannot be used.
        """
        if folder not in self._motions:
            self._motions[folder] = load_motion_folder(folder)
        return self._motions[folder]

    def trial(self, config: CustomizationConfig) -> str:
        """The identity of a trial.

        Raises:
            DataError: a folder of clips cannot be used.
            BaseModelError: a model cannot be read.
        """
        motion, settings = self.motion(config.motion), config.regularization
        content = config.model_dump(mode="json")
        content["name"] = config.name or motion.name
        content["motion"] = self._once("motion", config.motion, lambda: _motion_digest(motion))
        content["base"] = self._once("base", config.base, lambda: _base_digest(config.base))
        folder = settings.folder
        if settings.source == "real" and folder is not None:
            content["regularization"]["folder"] = self._once(
                f"regularization/{motion.token}",
                folder,
                lambda: _clips_digest(load_regularization_folder(folder, motion.token)),
            )
        floor = config.validation.floor
        if floor is not None:
            model = floor.clip_model
            digest = self._once("clip", model, lambda: _clip_model_digest(model))
            content["validation"]["floor"]["clip_model"] = digest
        return _sha256({"format": FORMAT, "config": content})

    def _once(self, kind: str, folder: str, digest: Callable[[], str]) -> str:
        key = (kind, folder)
        if key not in self._digests:
            self._digests[key] = digest()
        return self._digests[key]


def _motion_digest(motion: MotionFolder) -> str:
    clips = _clips_digest(motion.clips)
    return _sha256([motion.token, motion.template, motion.description, motion.flip, clips])


def _clips_digest(clips: tuple[CaptionedClip, ...]) -> str:
    return _sha256([[content_hash(clip.path), clip.caption, clip.frame_fps] for clip in clips])


def _base_digest(base: str) -> str:
    folder = EMBEDDED_FOLDER if base == EMBEDDED else Path(base).expanduser()
    model = open_model_folder(folder)
    return _sha256([model.fingerprint, model.scheduler_config])


def _clip_model_digest(model: str) -> str:
    folder = EMBEDDED_CLIP_FOLDER if model == EMBEDDED else Path(model).expanduser()
    if not folder.is_dir():
        fix = "name a folder that open_clip loads, or puppet"
        raise BaseModelError(f"validation.floor.clip_model {model}", "is no folder", fix)
    names = plain_files(folder, BaseModelError)
    return _sha256([[name, sha256_of(folder / name)] for name in names])


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
