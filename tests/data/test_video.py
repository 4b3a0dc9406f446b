"""Reading: every container, sampled where it should be; broken files refused in one line."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from motion_ray.config import ClipConfig
from motion_ray.data import container
from motion_ray.data.video import probe, read_clip, write_video
from motion_ray.errors import DataError
from tests.data.media import (
    elsewhere,
    numbered,
    numbers_in,
    write_av,
    write_no_frames,
    write_pictures,
    write_sound,
    write_timed_gif,
    write_webm,
)

FORMATS = ("mp4", "mov", "webm", "gif", "jpg", "png")


def clip_config(frames: int = 4, fps: float | None = None) -> ClipConfig:
    return ClipConfig(frames=frames, fps=fps, height=32, width=32)


def write_any(folder: Path, kind: str, frames: torch.Tensor, fps: float) -> Path:
    path = folder / f"clip.{kind}"
    if kind == "mp4":
        write_video(path, frames, fps)
    elif kind == "webm":
        write_webm(path, frames, fps)
    elif kind == "gif":
        write_timed_gif(path, frames, [round(1000 / fps)] * len(frames))
    elif kind in ("jpg", "png"):
        write_pictures(path, frames, "{:05d}." + kind)
    else:
        write_av(path, frames, range(len(frames)), Fraction(fps))
    return path


def refused(path: Path, config: ClipConfig | None = None) -> str:
    """The message, after checking that it is one line that begins with the file."""
    with pytest.raises(DataError) as caught:
        read_clip(path, config or clip_config())
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and caught.value.fix
    return message.removeprefix(f"{path}: ")


# --- good files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("hw", [(48, 64), (64, 48), (90, 160)])
def test_every_format_gives_its_frames_at_native_size(tmp_path, kind, hw):
    path = write_any(tmp_path, kind, numbered(20, *hw), 10)
    info = probe(path, frame_fps=10)
    assert (info.frames, info.height, info.width) == (20, *hw)
    assert info.fps == pytest.approx(10) and info.seconds == pytest.approx(2.0)
    clip = read_clip(path, clip_config(6), frame_fps=10)
    assert clip.frames.shape == (6, 3, *hw) and clip.frames.dtype == torch.uint8
    assert numbers_in(clip.frames) == [7, 8, 9, 10, 11, 12]
    assert clip.fps == pytest.approx(10) and clip.source == str(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_sampling_at_a_stated_rate(tmp_path, kind):
    path = write_any(tmp_path, kind, numbered(20), 10)
    clip = read_clip(path, clip_config(8, fps=4), frame_fps=10)
    # round(2.5 k), halves upward
    assert numbers_in(clip.frames) == [0, 3, 5, 8, 10, 13, 15, 18] and clip.fps == 4


def test_a_folder_of_pictures_has_the_stated_rate(tmp_path):
    path = write_pictures(tmp_path / "1", numbered(24))
    assert probe(path).fps == 12 and probe(path, 4).available == 8
    assert numbers_in(read_clip(path, clip_config(4, fps=6), frame_fps=24).frames) == [4, 8, 12, 16]


def test_reading_twice_gives_the_same_bits(tmp_path):
    path = write_any(tmp_path, "mp4", torch.randint(0, 256, (12, 3, 48, 64), dtype=torch.uint8), 8)
    first, second = (read_clip(path, clip_config(5)).frames for _ in range(2))
    assert torch.equal(first, second)


def test_a_rate_above_the_native_one_repeats_frames(tmp_path):
    path = write_any(tmp_path, "mp4", numbered(6), 4)
    assert numbers_in(read_clip(path, clip_config(6, fps=8)).frames) == [1, 2, 2, 3, 3, 4]


def test_gif_frames_count_as_long_as_they_stay(tmp_path):
    path = write_timed_gif(tmp_path / "a.gif", numbered(4), [100, 100, 600, 200])
    info = probe(path, 10)
    assert info.seconds == pytest.approx(1.0) and info.available == 10
    assert numbers_in(read_clip(path, clip_config(10, fps=10)).frames) == [0, 1] + [2] * 6 + [3] * 2


def test_a_varying_rate_in_mp4_is_sampled_by_time(tmp_path):
    times = [0, 1, 2, 10, 11, 12, 20, 21]
    path = write_av(tmp_path / "phone.mp4", numbered(8), times, Fraction(10))
    frames = read_clip(path, clip_config(22, fps=10)).frames
    assert numbers_in(frames) == [0, 1] + [2] * 8 + [3, 4] + [5] * 8 + [6, 7]


def test_clips_held_upright_are_turned(tmp_path):
    upright = numbered(6, 64, 48)
    path = write_any(tmp_path, "mp4", torch.rot90(upright, 1, (2, 3)).contiguous(), 8)
    data = path.read_bytes()
    # the matrix of the track header, as phones write it for pictures to be shown turned clockwise
    start = data.index(b"tkhd") + 4 + 24 + 16
    assert data[start : start + 4] == struct.pack(">i", 0x10000)
    matrix = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    path.write_bytes(data[:start] + matrix + data[start + 36 :])
    info = probe(path)
    assert (info.height, info.width) == (64, 48)
    assert numbers_in(read_clip(path, clip_config(6)).frames) == list(range(6))


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    # as phones trim a clip: the first 6 of 20 frames are in the file but not shown
    path = write_av(tmp_path / "trimmed.mp4", numbered(20), range(-6, 14), Fraction(8))
    assert probe(path).frames == 14
    assert numbers_in(read_clip(path, clip_config()).frames) == [11, 12, 13, 14]


def test_content_decides_and_not_the_name(tmp_path):
    path = write_any(tmp_path, "mp4", numbered(6), 8).rename(tmp_path / "clip.gif")
    assert probe(path).codec == "h264"


def test_a_name_with_special_characters_is_only_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_any(tmp_path, "mp4", numbered(6), 8).rename("concat:a|b %05d.mp4")
    assert numbers_in(read_clip(path, clip_config()).frames) == [1, 2, 3, 4]


def test_a_name_that_is_not_utf8_is_only_a_name(tmp_path):
    path = write_any(tmp_path, "mp4", numbered(6), 8).rename(tmp_path / "caf\udce9.mp4")
    assert probe(path).frames == 6
    assert numbers_in(read_clip(path, clip_config()).frames) == [1, 2, 3, 4]


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="this PyAV cannot write AV1")
def test_codecs_that_decord_cannot_read(tmp_path):
    clip = (tmp_path / "a.mp4", numbered(8, 64, 64), range(8), Fraction(8), "libsvtav1")
    path = elsewhere(write_av, *clip)
    assert probe(path).codec == "av1"
    assert numbers_in(read_clip(path, clip_config()).frames) == [2, 3, 4, 5]


# --- files that cannot be used --------------------------------------------------------------------


def test_too_short_says_what_is_needed_and_what_is_there(tmp_path):
    path = write_any(tmp_path, "mp4", numbered(10), 8)
    message = refused(path, clip_config(16, fps=8))
    assert message.startswith("needs 16 frames at 8 fps = 2.0 s, has 1.2 s (10 frames); ")
    assert "lower clips.frames" in message
    assert refused(path, clip_config(11)).startswith("needs 11 frames, has 10; ")


def test_missing_empty_and_foreign_files(tmp_path):
    assert "there is no such file" in refused(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "is empty" in refused(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "is damaged, or no mp4, mov, webm or gif" in refused(tmp_path / "b.mp4")


def test_a_playlist_with_a_harmless_name_is_not_followed(tmp_path):
    secret = write_any(tmp_path, "mp4", numbered(6), 8)
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    assert "is damaged, or no mp4" in refused(path)


def test_sound_without_pictures(tmp_path):
    assert refused(write_sound(tmp_path / "a.mp4")).startswith("holds only sound; ")


def test_a_video_stream_without_frames(tmp_path):
    path = write_no_frames(tmp_path / "a.webm")
    assert refused(path).startswith("holds no frames; ")


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "gif"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97])
def test_cut_off_files(tmp_path, kind, kept):
    # mp4 has its index in front, mov (as written here) at the end
    noise = torch.randint(0, 256, (30, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    path = write_any(tmp_path, kind, noise.to(torch.uint8), 10)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    message = refused(path)
    assert message.startswith(("is cut off", "is damaged", "holds no frames"))


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_damage_in_the_middle_is_an_error_or_decoded_but_never_a_crash(tmp_path, kind):
    noise = torch.randint(0, 256, (30, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    path = write_any(tmp_path, kind, noise.to(torch.uint8), 10)
    data, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(data)
        start = int(random.integers(0, len(data) - 200))
        damaged[start : start + 200] = random.bytes(200)
        path.write_bytes(damaged)
        try:
            assert read_clip(path, clip_config()).frames.shape == (4, 3, 48, 64)
            outcomes.add("read")
        except DataError as error:
            assert str(error).startswith(str(path))
            outcomes.add("refused")
    assert "refused" in outcomes


def test_absurd_claims_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write_any(tmp_path, "gif", numbered(6), 8)
    data = path.read_bytes()
    path.write_bytes(data[:6] + struct.pack("<HH", 6000, 6000) + data[10:])
    assert refused(path).startswith("claims 6000 x 6000 pixels a frame, at most 4096 x 4096")

    monkeypatch.setattr(container, "MAX_FRAMES", 10)
    assert "claims 12 frames" in refused(write_any(tmp_path, "mp4", numbered(12), 8))
    # webm does not state a count: it is counted
    assert "holds more than 10 frames" in refused(write_any(tmp_path, "webm", numbered(12), 8))


def test_a_window_that_takes_too_much_memory_is_refused(tmp_path):
    path = write_any(tmp_path, "mp4", torch.zeros(1, 3, 4000, 4000, dtype=torch.uint8), 8)
    message = refused(path, clip_config(256, fps=5000))
    assert message.startswith("256 frames of 4000 x 4000 take 11.4 GiB")


# --- folders of pictures --------------------------------------------------------------------------


def test_pictures_are_ordered_by_number(tmp_path):
    path = write_pictures(tmp_path / "a", numbered(12), "frame_{}.jpg")
    (path / "notes.txt").write_text("not a picture")
    (path / ".hidden_1.jpg").write_bytes(b"of another system")
    assert numbers_in(read_clip(path, clip_config(12)).frames) == list(range(12))


def test_every_fourth_picture_is_a_clip_but_a_hole_is_not(tmp_path):
    path = write_pictures(tmp_path / "a", numbered(8), step=4)
    assert probe(path).frames == 8
    (path / "00013.jpg").unlink()
    assert "a picture is missing after 00009.jpg" in refused(path)


def test_pictures_that_do_not_make_a_clip(tmp_path):
    path = write_pictures(tmp_path / "a", numbered(4))
    (path / "00002.png").write_bytes((path / "00002.jpg").read_bytes())
    assert "two pictures have number 2" in refused(path)
    (path / "00002.png").unlink()
    Image.new("RGB", (10, 20)).save(path / "00003.jpg")
    with pytest.raises(DataError, match=r"00003.jpg: is 20 x 10, but .* is 48 x 64"):
        read_clip(path, clip_config())
    (path / "00003.jpg").write_bytes((path / "00001.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match=r"00003.jpg: is damaged"):
        read_clip(path, clip_config())
    (tmp_path / "empty").mkdir()
    assert "no numbered jpg or png" in refused(tmp_path / "empty")


def test_a_picture_that_claims_too_many_pixels(tmp_path):
    path = write_pictures(tmp_path / "a", numbered(4), "{:05d}.png")
    data = (path / "00001.png").read_bytes()
    for side, rule in ((5000, "5000 x 5000 pixels"), (60000, "far too many pixels")):
        header = b"IHDR" + struct.pack(">II", side, side) + data[24:29]
        crc = struct.pack(">I", zlib.crc32(header))
        (path / "00001.png").write_bytes(data[:12] + header + crc + data[33:])
        with pytest.raises(DataError, match=rule):
            read_clip(path, clip_config())


def test_pictures_lying_on_their_side_are_turned(tmp_path):
    path = write_pictures(tmp_path / "a", torch.rot90(numbered(4, 64, 48), 1, (2, 3)))
    for file in path.iterdir():
        with Image.open(file) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6  # to be shown turned clockwise
            picture.save(file, exif=exif, quality=95)
    assert (probe(path).height, probe(path).width) == (64, 48)
    assert numbers_in(read_clip(path, clip_config()).frames) == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "value"), [(2, b"6"), (3, b"\0"), (3, b"\x09")])
def test_an_orientation_that_means_nothing_counts_as_upright(tmp_path, kind, value):
    path = write_pictures(tmp_path / "a", numbered(1))
    # one tag, as text (kind 2) or as a number
    tag = struct.pack("<HHHI4sI", 1, 0x0112, kind, 2 if kind == 2 else 1, value, 0)
    with Image.open(path / "00001.jpg") as picture:
        exif = b"Exif\0\0II*\0\x08\0\0\0" + tag
        picture.save(path / "00001.jpg", exif=exif, quality=95)
    assert (probe(path).height, probe(path).width) == (48, 64)
    assert numbers_in(read_clip(path, clip_config(1)).frames) == [0]


def test_exif_data_that_is_broken_is_one_line(tmp_path):
    path = write_pictures(tmp_path / "a", numbered(1), "{:05d}.png")
    with Image.open(path / "00001.png") as picture:
        picture.save(path / "00001.png", exif=b"no such thing")
    for read in (probe, lambda path: read_clip(path, clip_config(1))):
        with pytest.raises(DataError, match=r"00001.png: is damaged and cannot be decoded; .*anew"):
            read(path)


def test_a_name_that_says_png_starts_no_other_program(tmp_path):
    path = tmp_path / "00001.png"
    Image.new("RGB", (64, 48)).save(path, "EPS")  # Pillow would have Ghostscript read it
    assert refused(path, clip_config(1)) == "is damaged or no jpg or png; copy it again"


def test_16_bit_grey_keeps_its_shades(tmp_path):
    grey = np.array([[0, 255, 256, 0x8000, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "1.png")
    frame = read_clip(tmp_path / "1.png", clip_config(1)).frames[0]
    assert frame.tolist() == [[[0, 0, 1, 128, 255]]] * 3
    Image.fromarray(grey).save(tmp_path / "1.png", transparency=0xFFFF)
    frame = read_clip(tmp_path / "1.png", clip_config(1)).frames[0]
    assert frame.tolist() == [[[0, 0, 1, 128, 0]]] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_see_through_lies_over_black(tmp_path, mode):
    seen = Image.new("RGBA", (3, 1), (200, 200, 200, 255))
    seen.putpixel((1, 0), (255, 255, 255, 0))  # a colour that is not meant to be seen
    seen.convert(mode).save(tmp_path / "1.png")
    frame = read_clip(tmp_path / "1.png", clip_config(1)).frames[0]
    assert frame.tolist() == [[[200, 0, 200]]] * 3
