"""What the loader will feed to training, and everything that is wrong or looks wrong with it.

Nothing here stops at the first problem. Shape legend: v shown variants, f shown frames, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from motion_ray.config import AugmentationConfig, ClipConfig
from motion_ray.data.augment import apply_augmentation, plain_draw
from motion_ray.data.clips import content_hash
from motion_ray.data.latents import variant_draws
from motion_ray.data.video import ClipInfo, check_length, probe, read_clip
from motion_ray.errors import MotionRayError
from motion_ray.types import CaptionedClip, ExampleSet

SHOWN_VARIANTS = 3
SHOWN_FRAMES = 4
SHOWN_HEIGHT = 96  # pixels
FEW_CLIPS = 4
PAPERS_CLIPS = 10
SQUARE = (0.98, 1.02)  # width over height of pixels that pass as square: nobody sees the rest
UNSQUEEZE = 'ffmpeg -i IN -vf "scale=trunc(iw*sar/2)*2:ih,setsar=1" OUT.mp4'


class Tokenizing(Protocol):
    """The part of a backbone that reads text."""

    @property
    def max_tokens(self) -> int:
        """Longest text, start and end included."""
        ...

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Padded ids ``[b, n]``."""
        ...

    def token_pieces(self, word: str) -> list[int]:
        """Ids of a text without start and end, not cut."""
        ...


@dataclass(frozen=True)
class Finding:
    """One line for the user.

    Attributes:
        fatal: training would fail or make no sense.
        text: where, what, and what to do.
    """

    fatal: bool
    text: str


@dataclass(frozen=True)
class TokenPlacement:
    """Where the tokenizer puts V* in a caption.

    Attributes:
        pieces: how many tokens V* is split into.
        positions: places of these in the text, the start mark being 0; empty if it is not there.
        length: tokens of the whole caption, start and end included.
        limit: tokens that the text encoder reads.
    """

    pieces: int
    positions: tuple[int, ...]
    length: int
    limit: int


@dataclass(frozen=True)
class ClipReport:
    """One clip as training will see it.

    Attributes:
        source: the set it belongs to.
        clip: file and caption.
        size: bytes on disk.
        info: null if the file cannot be read.
        shown: uint8 ``[v, f, 3, h, w]``, augmented and scaled down; null if it cannot be decoded or
            was not asked for.
        findings: what is wrong with it.
    """

    source: ExampleSet
    clip: CaptionedClip
    size: int
    info: ClipInfo | None
    shown: Tensor | None
    findings: tuple[Finding, ...]


def inspect_clip(
    clip: CaptionedClip,
    source: ExampleSet,
    config: ClipConfig,
    augmentation: AugmentationConfig,
    seed: int,
    *,
    show: bool,
) -> ClipReport:
    """Decode a clip the way training will, and look at it.

    Args:
        clip: from a motion or regularization folder.
        source: which of the two.
        config: frames, rate and size.
        augmentation: ``flip`` must be what the motion allows.
        seed: of the run, so that the variants shown are those that will be trained on.
        show: keep pictures for the contact sheet.
    """
    info, shown, findings = None, None, []
    try:
        info = probe(clip.path, config.fps, frame_fps=clip.frame_fps)
        findings += [Finding(False, f"{clip.path}: {text}") for text in _oddities(info, config)]
        check_length(clip.path, info.available, info.seconds, config)
        frames = read_clip(clip.path, config, frame_fps=clip.frame_fps).frames
        if show:
            shown = _variants(clip, frames, config, augmentation, seed)
    except MotionRayError as error:
        findings.append(Finding(True, str(error)))
    return ClipReport(source, clip, _bytes(clip.path), info, shown, tuple(findings))


def inspect_sets(clips: Iterable[tuple[ExampleSet, CaptionedClip]]) -> list[Finding]:
    """What is odd about the sets as a whole: few clips, or the same clip twice."""
    findings, seen, motion = [], {}, 0
    for source, clip in clips:
        motion += source is ExampleSet.MOTION
        try:
            content = content_hash(clip.path)
        except MotionRayError:
            continue  # inspect_clip says why
        if content in seen:
            findings.append(Finding(False, f"{clip.path}: the same content as {seen[content]}"))
        seen[content] = clip.path
    if 0 < motion < FEW_CLIPS:
        text = f"{motion} motion clips: with so few, expect copies of them (paper: {PAPERS_CLIPS})"
        findings.append(Finding(False, text))
    return findings


def place_token(tokenizer: Tokenizing, caption: str, token: str) -> TokenPlacement:
    """Find V* among a caption's tokens."""
    pieces = tokenizer.token_pieces(token)
    ids = tokenizer.token_ids([caption])[0].tolist()
    length, limit = len(tokenizer.token_pieces(caption)) + 2, tokenizer.max_tokens
    starts = [i for i in range(len(ids)) if ids[i : i + len(pieces)] == pieces]
    positions = tuple(range(starts[0], starts[0] + len(pieces))) if starts else ()
    return TokenPlacement(len(pieces), positions, length, limit)


def inspect_token(tokenizer: Tokenizing, token: str, trains: bool) -> list[Finding]:
    """What is wrong with V* itself.

    Args:
        tokenizer: of the base.
        token: V*.
        trains: whether its embedding trains, which needs a single piece.
    """
    pieces = tokenizer.token_pieces(token)
    # start, then end: the end mark also stands for characters that the vocabulary lacks
    end = int(tokenizer.token_ids([""])[0, 1])
    advice = "choose a rare word that stays whole, for example pll or sks"
    if end in pieces or not pieces:
        text = f"token {token!r}: the tokenizer does not know its characters; {advice}"
        return [Finding(True, text)]
    if len(pieces) > 1:
        text = f"token {token!r}: the tokenizer splits it into {len(pieces)} pieces; {advice}"
        return [Finding(trains, text)]
    return []


def inspect_caption(
    clip: CaptionedClip, source: ExampleSet, placement: TokenPlacement
) -> list[Finding]:
    """What is wrong with a caption once it is tokens."""
    cut = placement.length > placement.limit
    if source is ExampleSet.MOTION and not placement.positions:
        why = "cut off" if cut else "read differently by the tokenizer in this caption"
        text = f"{clip.path}: the token is {why}; put it earlier, as a word of its own"
        return [Finding(True, text)]
    if cut:
        tokens = f"{placement.length} tokens, the text encoder reads {placement.limit}"
        return [Finding(False, f"{clip.path}: the caption has {tokens}: its end is lost")]
    return []


def _oddities(info: ClipInfo, config: ClipConfig) -> list[str]:
    found = []
    rate = config.fps or info.fps
    if config.fps is not None and config.fps > 1.01 * info.fps:
        found.append(f"has {info.fps:.3g} fps, sampled at {config.fps:g}: frames repeat")
    used = config.frames / rate
    if used < info.seconds / 2 and info.available >= config.frames:
        found.append(
            f"only the middle {used:.1f} s of {info.seconds:.1f} s are used; "
            "cut it to the motion, or lower clips.fps"
        )
    crop = plain_draw((info.height, info.width), (config.height, config.width))
    if crop.height < config.height:
        factor = config.height / crop.height
        found.append(f"is {info.width} x {info.height} pixels, enlarged {factor:.1f} times")
    if not SQUARE[0] <= info.pixel_aspect <= SQUARE[1]:
        found.append(
            f"its pixels are {info.pixel_aspect:.3g} times as wide as high and are read as square: "
            f"shapes are wrong; write it anew with: {UNSQUEEZE}"
        )
    return found


def _variants(
    clip: CaptionedClip,
    frames: Tensor,
    config: ClipConfig,
    augmentation: AugmentationConfig,
    seed: int,
) -> Tensor:
    """Uint8 ``[v, f, 3, h, w]`` for the contact sheet."""
    chosen = torch.linspace(0, len(frames) - 1, min(SHOWN_FRAMES, len(frames))).round().long()
    height = min(SHOWN_HEIGHT, config.height)
    size = [height, max(1, round(config.width * height / config.height))]
    draws = variant_draws(clip, config, augmentation, seed)[:SHOWN_VARIANTS]
    augmented = [
        apply_augmentation(frames[chosen], draw, config.height, config.width) for draw in draws
    ]
    return torch.stack([transforms.resize(each, size, antialias=True) for each in augmented])


def _bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
