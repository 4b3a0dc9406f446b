"""Small real media for tests: every frame carries its own number, readable after lossy coding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

BITS = 8


def elsewhere(write: Callable[..., Path], *arguments: object) -> Path:
    """Encode in a process of its own, which is kept.

    SVT-AV1, run by root, makes its process a real-time one for good; libvpx refuses to start in a
    process in which certain other tests have run.
    """
    return _other_process().submit(write, *arguments).result()


@functools.cache
def _other_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def numbered(frames: int, height: int = 48, width: int = 64, first: int = 0) -> Tensor:
    """uint8 ``[f, 3, h, w]``: frame i shows the bits of ``first + i`` as white and black bars."""
    numbers = torch.arange(first, first + frames)
    bits = (numbers[:, None] >> torch.arange(BITS)) & 1  # [f, 8]
    columns = torch.arange(width) * BITS // width
    row = bits[:, columns] * 255
    return row.to(torch.uint8)[:, None, None, :].expand(frames, 3, height, width).contiguous()


def numbers_in(frames: Tensor) -> list[int]:
    """The numbers that :func:`numbered` wrote into frames."""
    width = frames.shape[-1]
    centres = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    bars = frames.float().mean(dim=1)[:, frames.shape[2] // 4 : -frames.shape[2] // 4].mean(1)
    return [sum(int(bar[x] > 127) << bit for bit, x in enumerate(centres)) for bar in bars]


def write_webm(path: Path, frames: Tensor, fps: float) -> Path:
    """VP8 in webm."""
    rate = Fraction(fps).limit_denominator(1001)
    return elsewhere(write_av, path, frames, range(len(frames)), rate, "libvpx")


def write_av(
    path: Path,
    frames: Tensor,
    times: Sequence[int],
    rate: Fraction,
    codec: str = "libx264",
    aspect: Fraction | None = None,
) -> Path:
    """Any codec; frame i is shown at ``times[i] / rate``; pixels are ``aspect`` as wide as high."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[3], frames.shape[2], "yuv420p"
        stream.codec_context.time_base = 1 / rate
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for time, picture in zip(times, frames.permute(0, 2, 3, 1).numpy(), strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_timed_gif(path: Path, frames: Tensor, milliseconds: Sequence[int]) -> Path:
    """A gif whose frames stay for different times."""
    pictures = [Image.fromarray(p) for p in frames.permute(0, 2, 3, 1).contiguous().numpy()]
    first, rest = pictures[0], pictures[1:]
    first.save(path, save_all=True, append_images=rest, duration=list(milliseconds), loop=0)
    return path


def write_pictures(folder: Path, frames: Tensor, name: str = "{:05d}.jpg", step: int = 1) -> Path:
    """A clip as Jester has it: 00001.jpg, 00002.jpg, .."""
    folder.mkdir(parents=True)
    for i, picture in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
        Image.fromarray(picture).save(folder / name.format(1 + i * step), quality=95)
    return folder


def write_sound(path: Path) -> Path:
    """An mp4 with one second of silence and no pictures."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        stream.layout = "mono"
        silence = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_no_frames(path: Path) -> Path:
    """A webm that announces a video stream and ends."""
    return elsewhere(_write_no_frames, path)


def _write_no_frames(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.start_encoding()
    return path
