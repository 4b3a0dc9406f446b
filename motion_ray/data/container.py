"""Video files as PyAV sees them: what is inside, decoding in order, and writing H.264.

Nothing a file claims is believed before it is checked: sizes and counts are bounded before any
frame is
decoded, frames are counted by reading the file through, and files that end early are refused. Shape
legend: f frames, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import EOFError as FFmpegEnd
from av.error import FFmpegError
from av.video.stream import VideoStream
from torch import Tensor

from motion_ray.data.timeline import Timeline, measured_timeline
from motion_ray.errors import DataError

MAX_FRAME_PIXELS = 4096 * 4096
MAX_FRAMES = 100_000
REENCODE = "write it anew, for example with: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4"
# With macroblock trees, x264's choices depend on what happens to lie in memory that it reserved.
# The same frames then give other bytes now and then, and clips that differ are other data to a
# run.
X264 = "mbtree=0"

_MOV_ATOMS = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class VideoTrack:
    """The video stream of a file.

    Attributes:
        container: ``mov`` (mp4 as well), ``matroska`` (webm) or ``gif``.
        codec: for example ``h264``.
        width: pixels, as shown: after rotation.
        height: pixels, as shown.
        quarter_turns: how often the stored picture is turned counter-clockwise to be shown upright.
        timeline: of the frames that are there.
        pixel_aspect: width of a pixel, as shown, over its height; frames are read without it.
    """

    container: str
    codec: str
    width: int
    height: int
    quarter_turns: int
    timeline: Timeline
    pixel_aspect: float


def examine(path: Path) -> VideoTrack:
    """Read a file through without decoding more than its first frame.

    Raises:
        DataError: no video we read, no video stream, no frames, cut off, damaged, absurdly large.
    """
    container = _container(path)
    try:
        with _open(path, container) as file:
            stream = _video_stream(path, file)
            codec = stream.codec_context.codec.canonical_name
            _check_claims(path, stream)
            _check_whole(path, container, stream)
            timeline = _timeline(path, file, stream)
            aspect = float(stream.sample_aspect_ratio or 1)
        with _open(path, container) as file:
            frame = next(file.decode(_video_stream(path, file)), None)
    except FFmpegEnd:  # right behind the header
        raise _no_frames(path) from None
    except FFmpegError:
        raise _damaged(path) from None
    if frame is None:
        raise _no_frames(path)
    turns = frame.rotation // 90 if frame.rotation % 90 == 0 else 0
    width, height = (frame.width, frame.height)[:: -1 if turns % 2 else 1]
    aspect = 1 / aspect if turns % 2 else aspect
    return VideoTrack(container, codec, width, height, turns, timeline, aspect)


def decode_in_order(path: Path, track: VideoTrack, indices: Sequence[int]) -> Tensor:
    """Decode from the start and keep some frames.

    Args:
        path: the file that ``track`` describes.
        track: from :func:`examine`.
        indices: frames to keep, ascending; repeats are allowed.

    Returns:
        uint8 RGB ``[len(indices), 3, h, w]``.

    Raises:
        DataError: the file is damaged before the last of them, or changes its size on the way.
    """
    wanted, kept = set(indices), {}
    try:
        with _open(path, track.container) as file:
            for i, frame in enumerate(file.decode(_video_stream(path, file))):
                if i in wanted:
                    kept[i] = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                if len(kept) == len(wanted):
                    break
    except FFmpegError:
        raise _damaged(path) from None
    if len(kept) < len(wanted):
        raise _damaged(path)
    frames = [torch.rot90(kept[i], track.quarter_turns, (0, 1)) for i in indices]
    if any(frame.shape != (track.height, track.width, 3) for frame in frames):
        raise DataError(str(path), "changes its picture size on the way", REENCODE)
    return torch.stack(frames).permute(0, 3, 1, 2).contiguous()


def encode_h264(path: Path, frames: Tensor, fps: float, crf: int) -> None:
    """Write uint8 RGB ``[f, 3, h, w]``, h and w even, as an mp4 that browsers play."""
    height, width = frames.shape[-2:]
    rate = Fraction(fps).limit_denominator(1001)
    # faststart puts the index first, so that a browser can play before it has the whole file
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as file:
        options = {"crf": str(crf), "x264-params": X264}
        stream = file.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes whatever the machine
        # In numpy: torch would keep a pool of threads for this thread (motion_ray.threads).
        for picture in frames.numpy().transpose(0, 2, 3, 1):
            pixels = np.ascontiguousarray(picture)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))


def _open(path: Path, container: str) -> InputContainer:
    # An absolute path cannot be read as a protocol ("concat:..."), and a stated format cannot turn
    # a playlist with a harmless name into requests for other files.
    return av.open(str(path.absolute()), format=container, metadata_errors="replace")


def _container(path: Path) -> str:
    """By content, not by name: gifs from the web are often mp4."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}", "check the file") from None
    if not head:
        raise DataError(str(path), "is empty", "copy the file again")
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == _EBML:
        return "matroska"
    if head[:4] == b"GIF8":
        return "gif"
    rule = "is damaged, or no mp4, mov, webm or gif file"
    raise DataError(str(path), rule, f"if it plays elsewhere, {REENCODE}")


def _video_stream(path: Path, file: InputContainer) -> VideoStream:
    if not file.streams.video:
        what = "only sound" if file.streams.audio else "no video stream"
        raise DataError(str(path), f"holds {what}", "use a file with pictures")
    stream = file.streams.video[0]
    if stream.codec_context is None:  # typed as never null, but it is for a codec without a decoder
        raise DataError(str(path), "its pictures are coded in a way we cannot read", REENCODE)
    stream.codec_context.thread_count = 1
    return stream


def _check_claims(path: Path, stream: VideoStream) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_FRAME_PIXELS:
        claim, limit = f"{width} x {height} pixels a frame", "4096 x 4096"
    elif stream.frames > MAX_FRAMES:
        claim, limit = f"{stream.frames} frames", f"{MAX_FRAMES}"
    else:
        return
    raise DataError(str(path), f"claims {claim}, at most {limit} are read", "cut or scale it down")


def _check_whole(path: Path, container: str, stream: VideoStream) -> None:
    """Refuse a file that ends before its own index says; what is left would show another moment."""
    size, needed = path.stat().st_size, 0
    if container == "mov":
        needed = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    elif container == "matroska":
        needed = _matroska_end(path)
    elif not _gif_ends(path):
        needed = size + 1
    if needed > size:
        raise DataError(str(path), "is cut off: it ends too early", "copy or download it again")


def _matroska_end(path: Path) -> int:
    """Where the segment ends by its own header; 0 where that is open (live recordings)."""
    with path.open("rb") as file:
        head = file.read(4096)
    start = head.find(_SEGMENT) + len(_SEGMENT)
    if start < len(_SEGMENT) or start >= len(head) or head[start] == 0:
        return 0
    # an EBML number: the leading zero bits of its first byte count the bytes that follow
    length = 9 - head[start].bit_length()
    digits = int.from_bytes(head[start : start + length], "big") & ((1 << 7 * length) - 1)
    unknown = digits == (1 << 7 * length) - 1
    return 0 if unknown else start + length + digits


def _gif_ends(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0").endswith(b";")


def _timeline(path: Path, file: InputContainer, stream: VideoStream) -> Timeline:
    """Count the frames that are there and when they are shown."""
    base = float(stream.time_base or 1)
    starts: list[float] = []
    last = (0.0, 0.0)
    for packet in file.demux(stream):
        if packet.size == 0 or packet.is_discard:  # the flush at the end; frames an edit list hides
            continue
        if packet.is_corrupt:
            raise _damaged(path)
        start = float(packet.pts if packet.pts is not None else len(starts)) * base
        starts.append(start)
        last = max(last, (start, float(packet.duration or 0) * base))
        if len(starts) > MAX_FRAMES:
            raise DataError(str(path), f"holds more than {MAX_FRAMES} frames", "cut it down")
    if not starts:
        raise _no_frames(path)
    stated = float(stream.average_rate) if stream.average_rate else None
    return measured_timeline(starts, last[1], stated)


def _no_frames(path: Path) -> DataError:
    return DataError(str(path), "holds no frames", "copy it again, or use another file")


def _damaged(path: Path) -> DataError:
    return DataError(str(path), "is damaged and cannot be decoded", f"copy it again, or {REENCODE}")
