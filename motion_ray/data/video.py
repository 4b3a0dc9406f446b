"""Clips in and videos out: decord reads, PyAV writes, Pillow does pictures.

Reading is deterministic: the window lies in the middle of the clip and is sampled at a stated rate.
Shape
legend: f frames, h/w pixels.
"""

from __future__ import annotations

import errno
import io
import itertools
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import decord
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from motion_ray.config import ClipConfig
from motion_ray.data.container import (
    VideoTrack,
    decode_in_order,
    encode_h264,
    examine,
)
from motion_ray.data.frame_folder import SUFFIXES as PICTURE_SUFFIXES
from motion_ray.data.frame_folder import numbered_frames, picture_size, read_pictures
from motion_ray.data.timeline import Timeline, constant_timeline
from motion_ray.errors import DataError
from motion_ray.files import write_bytes_atomic
from motion_ray.types import Clip

log = logging.getLogger(__name__)

FRAME_FOLDER_FPS = 12.0  # Jester's rate; ``frame_fps`` in motion.yaml states another
MAX_WINDOW_BYTES = 4 * 2**30
# What decord's own decoders (FFmpeg of 2021) handle; AV1, for one, makes it read wild memory.
_DECORD_CODECS = frozenset({"h264", "hevc", "mpeg4", "vp8", "vp9"})


@dataclass(frozen=True)
class ClipInfo:
    """What is in a clip, counted rather than taken from its header.

    Attributes:
        frames: native frames.
        fps: native frames per second, the mean if the rate varies.
        width: pixels as shown.
        height: pixels as shown.
        seconds: length.
        codec: for example ``h264``; ``pictures`` for those.
        available: frames that sampling at a config's fps would give; see :func:`probe`.
        pixel_aspect: width of a pixel over its height. Reading keeps pixels as they are stored, so
            that anything but 1 shows as squeezed or stretched.
    """

    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    codec: str
    available: int
    pixel_aspect: float


@dataclass(frozen=True)
class _Source:
    path: Path
    height: int
    width: int
    timeline: Timeline
    track: VideoTrack | None  # null for pictures
    pictures: Sequence[Path] = ()


def probe(path: Path, fps: float | None = None, *, frame_fps: float = FRAME_FOLDER_FPS) -> ClipInfo:
    """Look into a clip without decoding more than one frame.

    Args:
        path: mp4, mov, webm or gif file, a folder of numbered jpg or png pictures, or one picture,
            which is a clip of one frame.
        fps: rate for ``available``; null counts native frames.
        frame_fps: native rate of a folder of pictures.

    Raises:
        DataError: it is missing, damaged, cut off, holds no frames, or is absurdly large.
    """
    source = _open_source(Path(path), frame_fps)
    line = source.timeline
    return ClipInfo(
        frames=len(line.starts),
        fps=line.fps,
        width=source.width,
        height=source.height,
        seconds=line.seconds,
        codec=source.track.codec if source.track else "pictures",
        available=line.available(fps),
        pixel_aspect=source.track.pixel_aspect if source.track else 1.0,
    )


def read_clip(path: Path, config: ClipConfig, *, frame_fps: float = FRAME_FOLDER_FPS) -> Clip:
    """Decode the middle ``config.frames`` frames, sampled at ``config.fps``, at native pixel size.

    Args:
        path: as for :func:`probe`.
        config: ``frames`` and ``fps`` are used; cropping to height and width is augmentation's
            work.
        frame_fps: native rate of a folder of pictures.

    Raises:
        DataError: as :func:`probe`; or it has fewer frames than needed, or takes too much memory.
    """
    source = _open_source(Path(path), frame_fps)
    check_length(path, source.timeline.available(config.fps), source.timeline.seconds, config)
    size = config.frames * source.height * source.width * 3
    if size > MAX_WINDOW_BYTES:
        what = f"{config.frames} frames of {source.width} x {source.height}"
        rule = f"{what} take {size / 2**30:.1f} GiB, at most 4 GiB are read"
        raise DataError(str(path), rule, "scale it down")
    indices = source.timeline.window(config.frames, config.fps)
    frames = _decode(source, indices)
    return Clip(frames, config.fps or source.timeline.fps, str(path))


def write_video(path: Path, frames: Tensor, fps: float, *, crf: int = 17) -> None:
    """Write uint8 RGB ``[f, 3, h, w]`` as an H.264 mp4 that browsers play, atomically.

    H.264 in its common form needs even sides: an odd side gets its last row or column twice.

    Args:
        path: ends in .mp4; its folder exists.
        frames: at least one.
        fps: frames per second.
        crf: x264's quality, 0 (exact but for colour subsampling) to 51.

    Raises:
        DataError: the disk of temporary files is full.
    """
    height, width = _check_frames(frames)
    if height % 2 or width % 2:
        padding = (0, width % 2, 0, height % 2)
        frames = functional.pad(frames.float(), padding, mode="replicate").byte()
    data = _encoded(frames.cpu(), fps, crf)
    write_bytes_atomic(Path(path), data)


def _encoded(frames: Tensor, fps: float, crf: int) -> bytes:
    """An mp4. The encoder writes to a file and reads it again, so it needs one."""
    try:
        with tempfile.TemporaryDirectory(prefix="motion_ray-") as scratch:
            file = Path(scratch) / "video.mp4"
            encode_h264(file, frames, fps, crf)
            return file.read_bytes()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        place = tempfile.gettempdir()  # not where the video goes, which may be another disk
        fix = "free some of it, or set TMPDIR to a folder with room"
        raise DataError(place, "the disk of temporary files is full", fix) from error


def write_gif(path: Path, frames: Tensor, fps: float) -> None:
    """Write uint8 RGB ``[f, 3, h, w]`` as a looping gif with one palette, for documentation."""
    _check_frames(frames)
    pictures = _pictures(frames)
    # One palette for all frames, without dithering: still parts do not flicker.
    tall = Image.fromarray(frames.cpu().permute(0, 2, 3, 1).flatten(0, 1).contiguous().numpy())
    palette = tall.quantize(256, dither=Image.Dither.NONE)
    pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    # A gif counts in hundredths of a second: rounding ends instead of lengths keeps the mean rate.
    ends = [round(100 * i / fps) for i in range(len(pictures) + 1)]
    durations = [10 * max(2, b - a) for a, b in itertools.pairwise(ends)]
    buffer = io.BytesIO()
    first, *rest = pictures
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=rest,
        duration=durations,
        loop=0,
        optimize=False,
        disposal=1,
    )
    write_bytes_atomic(Path(path), buffer.getvalue())


def check_length(path: Path, available: int, seconds: float, config: ClipConfig) -> None:
    """Refuse a clip with fewer than ``config.frames`` frames.

    Raises:
        DataError: saying what is needed, what is there and what to change.
    """
    if available >= config.frames:
        return
    if config.fps is None:
        rule = f"needs {config.frames} frames, has {available}"
        fix = "lower clips.frames or use a longer clip"
    else:
        needed = config.frames / config.fps
        rule = (
            f"needs {config.frames} frames at {config.fps:g} fps = {needed:.1f} s, "
            f"has {seconds:.1f} s ({available} frames)"
        )
        # fewer frames a second reach further, so lowering clips.fps would ask for a longer clip
        fix = "lower clips.frames, raise clips.fps or use a longer clip"
    raise DataError(str(path), rule, fix)


def _open_source(path: Path, frame_fps: float) -> _Source:
    if path.is_dir():
        pictures = numbered_frames(path)
        if not pictures:
            rule = "holds no numbered jpg or png pictures"
            raise DataError(str(path), rule, "name them 00001.jpg, 00002.jpg, ..")
        height, width = picture_size(pictures[0])
        line = constant_timeline(len(pictures), frame_fps)
        return _Source(path, height, width, line, None, pictures)
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "check the name")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        height, width = picture_size(path)
        return _Source(path, height, width, constant_timeline(1, frame_fps), None, [path])
    track = examine(path)
    return _Source(path, track.height, track.width, track.timeline, track)


def _decode(source: _Source, indices: Sequence[int]) -> Tensor:
    """Decord where it can; PyAV for the rest, and for the verdict on a file that decord refuses."""
    track = source.track
    if track is None:
        return read_pictures([source.pictures[i] for i in indices])
    # decord fails on turned pictures (phones held upright) and does not read gifs.
    if track.codec in _DECORD_CODECS and track.quarter_turns == 0:
        frames = _decode_decord(source.path, len(track.timeline.starts), indices)
        if frames is not None and frames.shape[-2:] == (track.height, track.width):
            return frames
    return decode_in_order(source.path, track, indices)


def _decode_decord(path: Path, count: int, indices: Sequence[int]) -> Tensor | None:
    """Uint8 ``[len(indices), 3, h, w]``, or null if this is no file for decord.

    It may count other frames than the container holds, so that its indices would mean other times;
    and it fails on whole files as well (pictures 48 pixels wide; names that are not UTF-8), so that
    its errors say nothing about a file.
    """
    unique = sorted(set(indices))
    place = {index: i for i, index in enumerate(unique)}
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != count:
            return None
        batch = torch.from_numpy(reader.get_batch(unique).asnumpy())
    except (decord.DECORDError, RuntimeError, UnicodeEncodeError) as error:
        log.debug("%r: decord gave up: %s", path, error)
        return None
    return batch[[place[i] for i in indices]].permute(0, 3, 1, 2).contiguous()


def _check_frames(frames: Tensor) -> tuple[int, int]:
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
        shape, kind = list(frames.shape), frames.dtype
        raise ValueError(f"frames must be uint8 [f, 3, h, w] with f >= 1, got {kind} {shape}")
    return frames.shape[2], frames.shape[3]


def _pictures(frames: Tensor) -> list[Image.Image]:
    return [Image.fromarray(p) for p in frames.cpu().permute(0, 2, 3, 1).contiguous().numpy()]
