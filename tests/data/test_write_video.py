"""Writing: mp4 that browsers play, gif for documentation."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from PIL import Image

from motion_ray.config import ClipConfig
from motion_ray.data.video import read_clip, write_gif, write_video
from tests.data.media import numbered, numbers_in


def smooth(frames: int, height: int, width: int) -> torch.Tensor:
    """A soft moving gradient: colour subsampling does little to it."""
    y = torch.linspace(0, 200, height)[None, None, :, None]
    x = torch.linspace(0, 40, width)[None, None, None, :]
    t = torch.arange(frames)[:, None, None, None].float()
    return (y + x + t).expand(frames, 3, height, width).round().to(torch.uint8)


@pytest.mark.parametrize("hw", [(48, 64), (64, 48), (49, 65), (1, 1), (8, 33)])
def test_a_written_video_comes_back(tmp_path, hw):
    frames = smooth(9, *hw)
    path = tmp_path / "a.mp4"
    write_video(path, frames, 8)
    config = ClipConfig(frames=9, fps=None, height=32, width=32)
    back = read_clip(path, config)
    assert back.fps == 8
    even = [side + side % 2 for side in hw]
    assert list(back.frames.shape) == [9, 3, *even]
    # an odd side repeats its last row or column
    error = (back.frames[:, :, : hw[0], : hw[1]].int() - frames.int()).abs()
    assert error.float().mean() < 3
    repeated = back.frames[:, :, -1, :].int() - back.frames[:, :, hw[0] - 1, :].int()
    assert repeated.abs().max() <= 12


def test_browsers_can_play_it(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, numbered(8), 29.97)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(29.97)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index first: it streams


def test_equal_frames_give_equal_files_and_nothing_else(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, numbered(8), 8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_crf_buys_quality(tmp_path):
    frames = torch.randint(0, 256, (8, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    sizes = []
    for crf in (10, 40):
        write_video(tmp_path / "a.mp4", frames.to(torch.uint8), 8, crf=crf)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize("write", [write_video, write_gif])
def test_other_tensors_are_a_mistake_of_the_caller(tmp_path, write):
    for wrong in (torch.zeros(2, 3, 8, 8), numbered(2)[:0], numbered(2)[0]):
        with pytest.raises(ValueError, match="uint8"):
            write(tmp_path / "a", wrong, 8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [8, 12, 24, 30])
def test_animations_keep_their_frames_and_rate(tmp_path, fps):
    frames = numbered(24)
    write_gif(tmp_path / "a.gif", frames, fps)
    total, found = 0, []
    with Image.open(tmp_path / "a.gif") as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            picture.load()
            total += picture.info["duration"]
            found.append(torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1))
        assert picture.info["loop"] == 0
    assert numbers_in(torch.stack(found)) == list(range(24))
    assert total / 1000 == pytest.approx(24 / fps, rel=0.01)


def test_a_gif_does_not_flicker_where_nothing_moves(tmp_path):
    frames = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    frames = frames.to(torch.uint8).expand(6, -1, -1, -1).clone()
    for i in range(6):
        frames[i, :, :4, 4 * i : 4 * i + 4] = 255
    write_gif(tmp_path / "a.gif", frames, 8)
    still = []
    with Image.open(tmp_path / "a.gif") as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            still.append(picture.convert("RGB").crop((0, 4, 32, 32)).tobytes())
    assert len(still) == 6 and len(set(still)) == 1
