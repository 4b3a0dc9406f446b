"""A motion is a folder of clips and captions, with an optional ``motion.yaml`` (D^m and D^r).

Clips are mp4, mov, webm or gif files, or folders of numbered jpg or png pictures. A caption stands
in ``motion.yaml``, else in a .txt file beside the clip, else the template is used. ``<token>`` in
it stands for V*. A subject instead of a motion (D^s) is a folder of pictures, each a clip of one
frame, whose ``motion.yaml`` says ``pictures: true``.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from motion_ray.data.frame_folder import SUFFIXES as PICTURE_SUFFIXES
from motion_ray.data.frame_folder import numbered_frames
from motion_ray.data.motion_file import (
    MOTION_FILE,
    ClipEntry,
    MotionFile,
    read_motion_file,
    read_text,
)
from motion_ray.errors import DataError
from motion_ray.evaluation.prompts import TOKEN, contains_word
from motion_ray.manifest import sha256_of
from motion_ray.types import CaptionedClip

log = logging.getLogger(__name__)

CLIP_SUFFIXES = frozenset({".mp4", ".mov", ".webm", ".gif"})
_OTHER_VIDEOS = frozenset({".avi", ".mkv", ".m4v", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".webp"})
_WORD = re.compile(r"[^\s<>]*\w[^\s<>]*")


@dataclass(frozen=True)
class MotionFolder:
    """A motion to learn.

    Attributes:
        name: for the store: small letters, digits and hyphens.
        token: V*, one existing rare word.
        template: the caption of clips without their own, with ``<token>``.
        description: the motion in natural words, for evaluation; may be empty.
        flip: the motion has no side, so clips may be mirrored.
        clips: in the order of ``motion.yaml``, else by name.
    """

    name: str
    token: str
    template: str
    description: str
    flip: bool
    clips: tuple[CaptionedClip, ...]


@dataclass(frozen=True)
class FolderScan:
    """Everything found in a motion or regularization folder.

    Attributes:
        folder: what is usable; it can be trained on only if there are no problems.
        problems: what makes the folder unusable.
        warnings: what looks like a mistake but is allowed.
    """

    folder: MotionFolder
    problems: tuple[DataError, ...]
    warnings: tuple[str, ...]


def load_motion_folder(path: str | Path) -> MotionFolder:
    """Read a motion folder (D^m). Clips are listed, not decoded.

    ``motion.yaml`` may hold ``name`` (default: the folder's), ``token`` (``pll``), ``template``
    (``a person doing the <token>``), ``description``, ``flip`` (false), ``frame_fps`` (12, of
    folders of pictures), ``pictures`` (false; each jpg or png is a clip of one frame) and
    ``clips``: a list of ``{file, caption}``. If ``clips`` is there, it is the whole list.

    Raises:
        DataError: no clips, a wrong ``motion.yaml``, or a caption without the token as a word.
    """
    return _usable(scan_motion_folder(path))


def load_regularization_folder(path: str | Path, token: str) -> tuple[CaptionedClip, ...]:
    """Read a folder of clips of other motions (D^r): the same form, a caption for every clip.

    Raises:
        DataError: as :func:`load_motion_folder`; or a caption is missing or contains the token.
    """
    return _usable(scan_regularization_folder(path, token)).clips


def scan_motion_folder(path: str | Path) -> FolderScan:
    """As :func:`load_motion_folder`, but with all problems instead of the first."""
    return _Scanner(Path(path).expanduser()).motion()


def scan_regularization_folder(path: str | Path, token: str) -> FolderScan:
    """As :func:`load_regularization_folder`, but with all problems instead of the first."""
    return _Scanner(Path(path).expanduser()).regularization(token)


def content_hash(path: Path) -> str:
    """Sha256 of a clip's content: of the file, or of the pictures of a folder in their order.

    Raises:
        DataError: the clip cannot be read.
    """
    try:
        if not path.is_dir():
            return sha256_of(path.resolve())  # a link to a clip is as good as the clip
        digest = hashlib.sha256()
        for picture in numbered_frames(path):
            digest.update(bytes.fromhex(sha256_of(picture.resolve())))
        return digest.hexdigest()
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
        raise DataError(str(path), rule, "check the file") from None


def store_name(text: str) -> str:
    """A text as a name for the store: ``"Swinging arms!"`` is ``"swinging-arms"``; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-")


def _usable(scan: FolderScan) -> MotionFolder:
    if scan.problems:
        raise scan.problems[0]
    for warning in scan.warnings:
        log.warning(warning)
    return scan.folder


class _Scanner:
    """Reads one folder and collects what is wrong with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._suffixes = CLIP_SUFFIXES
        self.problems: list[DataError] = []
        self.warnings: list[str] = []

    def motion(self) -> FolderScan:
        settings = read_motion_file(self.root, self._problem)
        token = settings.token
        if not _WORD.fullmatch(token):
            rule = f"the token is one word, got {token!r}"
            self._problem(self.root / MOTION_FILE, rule, "for example token: pll")

        def caption(where: Path, text: str | None) -> str:
            if text is None:
                where, text = self.root / MOTION_FILE, settings.template
            text = text.replace(TOKEN, token)
            if not contains_word(text, token):
                rule = f"the caption {text!r} lacks the token {token!r} as a word"
                self._problem(where, rule, f'for example "a person doing the {TOKEN}"')
            return text

        return self._scan(settings, caption)

    def regularization(self, token: str) -> FolderScan:
        settings = read_motion_file(self.root, self._problem)
        # The default template speaks of the motion; only one that the user wrote can stand here.
        default = settings.template if "template" in settings.model_fields_set else None

        def caption(where: Path, text: str | None) -> str:
            text = default if text is None else text
            if text is None:
                fix = "put it into a .txt beside the clip or into motion.yaml"
                self._problem(where, "a regularization clip needs a caption", fix)
                return ""
            if contains_word(text, token) or TOKEN in text:
                rule = f"a regularization caption must not contain {token!r}, got {text!r}"
                self._problem(where, rule, 'say what is seen, for example "a person waving"')
            return text

        return self._scan(settings, caption)

    def _scan(self, settings: MotionFile, caption: Callable[[Path, str | None], str]) -> FolderScan:
        clips = []
        for path, entry in self._clips(settings):
            where, text = self._own_caption(path, entry)
            clips.append(CaptionedClip(path, caption(where, text), settings.frame_fps))
        name = store_name(settings.name or self.root.resolve().name)
        if settings.name is not None and not name:
            rule = f"the name {settings.name!r} has no letter or digit of a-z, 0-9"
            self._problem(self.root / MOTION_FILE, rule, "for example name: swinging-arms")
        folder = MotionFolder(
            name=name or "motion",
            token=settings.token,
            template=settings.template,
            description=settings.description,
            flip=settings.flip,
            clips=tuple(clips),
        )
        # A wrong template is found once a clip: say it once.
        problems = {str(problem): problem for problem in self.problems}
        return FolderScan(folder, tuple(problems.values()), tuple(self.warnings))

    # --- clips ------------------------------------------------------------------------------------

    def _clips(self, settings: MotionFile) -> list[tuple[Path, ClipEntry | None]]:
        """Clips and their entries in ``motion.yaml``, if they have one."""
        if not self.root.is_dir():
            rule = "is no folder" if self.root.exists() else "there is no such folder"
            self._problem(self.root, rule, "name a folder that holds clips")
            return []
        if settings.pictures:
            self._suffixes = CLIP_SUFFIXES | PICTURE_SUFFIXES
        try:
            entries = sorted(self.root.iterdir(), key=lambda path: (_natural(path), path.name))
        except OSError as error:
            rule = f"cannot be read: {error.strerror}"
            self._problem(self.root, rule, "check its permissions")
            return []
        present = [path for path in entries if self._is_clip(path)]
        self._warn_of_ignored(present)
        if settings.clips is None:
            if not present:
                self._problem(self.root, "holds no clips", self._what_is_there())
            return [(path, None) for path in present]
        listed = [(self.root / entry.file, entry) for entry in settings.clips]
        if not listed:
            self._problem(self.root / MOTION_FILE, "clips is empty", "list clips or remove the key")
        for path in [path for path in present if path not in {path for path, _ in listed}]:
            self.warnings.append(f"{path}: not listed under clips in {MOTION_FILE}, left out")
        return [(path, entry) for path, entry in listed if self._entry_exists(path, entry)]

    def _is_clip(self, path: Path) -> bool:
        if path.name.startswith("."):
            return False
        if not path.is_dir():
            return path.suffix.lower() in self._suffixes
        try:
            return bool(numbered_frames(path))
        except DataError as problem:
            self.problems.append(problem)
            return False

    def _warn_of_ignored(self, present: list[Path]) -> None:
        captions = {_caption_file(path) for path in present}
        for path in sorted(self.root.iterdir()):
            suffix = path.suffix.lower()
            if suffix in _OTHER_VIDEOS:
                self.warnings.append(f"{path}: left out, clips are mp4, mov, webm or gif")
            elif suffix == ".txt" and path not in captions:
                self.warnings.append(f"{path}: a caption without a clip of that name")

    def _entry_exists(self, path: Path, entry: ClipEntry) -> bool:
        where = f"{self.root / MOTION_FILE}: {entry.file}"
        inside = PurePath(entry.file)
        if inside.is_absolute() or ".." in inside.parts:
            self._problem(where, "a clip lies inside the motion folder", "copy or link it there")
        elif not path.exists():
            self._problem(where, "there is no such clip", "check the name")
        elif path.is_file() and path.suffix.lower() not in self._suffixes:
            self._problem(where, "clips are mp4, mov, webm or gif files", "convert it")
        else:
            return True
        return False

    def _what_is_there(self) -> str:
        if any(path.suffix.lower() in {".jpg", ".jpeg", ".png"} for path in self.root.iterdir()):
            return (
                "a clip made of pictures is a folder of its own inside the motion folder; of a "
                "subject, say pictures: true in motion.yaml"
            )
        return "put mp4, mov, webm or gif files, or folders of numbered jpg pictures there"

    # --- texts ------------------------------------------------------------------------------------

    def _own_caption(self, path: Path, entry: ClipEntry | None) -> tuple[Path, str | None]:
        """Where a clip's own caption stands, and the caption; (the clip, null) if it has none."""
        if entry is not None and entry.caption is not None:
            where, text = self.root / MOTION_FILE, entry.caption
        else:
            where = _caption_file(path)
            if not where.is_file():
                return path, None
            text = read_text(where, self._problem)
        text = " ".join(text.split())
        if not text:
            self._problem(where, f"the caption of {path.name} is empty", "write one, or remove it")
            return path, None
        return where, text

    def _problem(self, where: str | Path, rule: str, fix: str) -> None:
        self.problems.append(DataError(str(where), rule, fix))


def _caption_file(clip: Path) -> Path:
    return clip.parent / f"{clip.name if clip.is_dir() else clip.stem}.txt"


def _natural(path: Path) -> list[str | int]:
    """Sort key in which clip2 comes before clip10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
