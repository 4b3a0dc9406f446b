"""Motion folders: what is found, which caption counts, and every mistake in one line."""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

import pytest
import yaml

from motion_ray.data.clips import (
    content_hash,
    load_motion_folder,
    load_regularization_folder,
    scan_motion_folder,
    scan_regularization_folder,
    store_name,
)
from motion_ray.errors import DataError
from motion_ray.evaluation.prompts import contains_word
from tests.data.media import numbered, write_pictures


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "Swinging arms"
    root.mkdir()
    for name in ("b10.mp4", "b2.MOV", "a.webm", "c.gif"):
        (root / name).write_bytes(name.encode())  # listing does not decode
    write_pictures(root / "d", numbered(3))
    return root


def write_settings(folder: Path, **values: object) -> None:
    (folder / "motion.yaml").write_text(yaml.safe_dump(values))


def problem(folder: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load_motion_folder(folder)
    assert "\n" not in str(caught.value) and caught.value.fix
    return caught.value


# --- good folders ---------------------------------------------------------------------------------


def test_a_folder_without_settings(folder):
    motion = load_motion_folder(str(folder))
    assert motion.name == "swinging-arms" and motion.token == "pll"
    assert motion.template == "a person doing the <token>"
    assert motion.description == "" and motion.flip is False
    assert [clip.path.name for clip in motion.clips] == [
        "a.webm",
        "b2.MOV",
        "b10.mp4",
        "c.gif",
        "d",
    ]
    assert {clip.caption for clip in motion.clips} == {"a person doing the pll"}
    assert all(clip.path.parent == folder and clip.frame_fps == 12 for clip in motion.clips)


def test_settings_are_read(folder):
    write_settings(
        folder,
        name="Arms",
        token="sks",
        template="a <token> by a person",
        description="swinging both arms",
        flip=True,
        frame_fps=24,
    )
    motion = load_motion_folder(folder)
    assert (motion.name, motion.token, motion.flip) == ("arms", "sks", True)
    assert motion.description == "swinging both arms"
    assert {clip.caption for clip in motion.clips} == {"a sks by a person"}
    assert {clip.frame_fps for clip in motion.clips} == {24}


def test_the_nearest_caption_counts(folder):
    (folder / "a.txt").write_text("\ufeffa man\n doing the  <token> \n", encoding="utf-8")
    (folder / "d.txt").write_text("a woman doing the PLL")
    captions = {clip.path.name: clip.caption for clip in load_motion_folder(folder).clips}
    assert captions["a.webm"] == "a man doing the pll"
    assert captions["d"] == "a woman doing the PLL"
    assert captions["c.gif"] == "a person doing the pll"
    clips = [{"file": "a.webm", "caption": "a child doing the <token>"}, {"file": "d"}]
    write_settings(folder, clips=clips)
    captions = {clip.path.name: clip.caption for clip in load_motion_folder(folder).clips}
    assert captions == {"a.webm": "a child doing the pll", "d": "a woman doing the PLL"}


def test_names_of_equal_number_have_an_order_of_their_own(tmp_path, monkeypatch):
    names = ["01.mp4", "1.mp4", "001.mp4", "A1.mp4", "a1.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    iterdir = Path.iterdir
    orders = set()
    for step in (1, -1):  # as a file system may have it

        def listed(path: Path, step: int = step):
            return sorted(iterdir(path))[::step]

        monkeypatch.setattr(Path, "iterdir", listed)
        orders.add(tuple(clip.path.name for clip in load_motion_folder(tmp_path).clips))
    assert orders == {("001.mp4", "01.mp4", "1.mp4", "A1.mp4", "a1.mp4")}


def test_listed_clips_keep_their_order_and_unlisted_ones_are_named(folder, caplog):
    write_settings(folder, clips=[{"file": "c.gif"}, {"file": "a.webm"}])
    with caplog.at_level(logging.WARNING):
        motion = load_motion_folder(folder)
    assert [clip.path.name for clip in motion.clips] == ["c.gif", "a.webm"]
    assert len(caplog.messages) == 3 and "b10.mp4: not listed" in " ".join(caplog.messages)


def test_what_looks_like_a_mistake_is_a_warning(folder):
    (folder / "e.txt").write_text("a person doing the <token>")
    (folder / "old.avi").write_bytes(b"RIFF")
    scan = scan_motion_folder(folder)
    assert scan.problems == () and len(scan.warnings) == 2
    assert "e.txt: a caption without a clip" in scan.warnings[0]
    assert "old.avi: left out" in scan.warnings[1]


def test_a_link_to_a_clip_is_a_clip(folder, tmp_path):
    (tmp_path / "elsewhere.mp4").write_bytes(b"elsewhere")
    (folder / "z.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    last = load_motion_folder(folder).clips[-1].path
    assert last.name == "z.mp4"
    assert content_hash(last) == content_hash(tmp_path / "elsewhere.mp4")


# --- folders that cannot be used ------------------------------------------------------------------


def test_no_folder_no_clips(tmp_path):
    assert "there is no such folder" in str(problem(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    assert "is no folder" in str(problem(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    error = problem(tmp_path / "empty")
    assert error.rule == "holds no clips" and "put mp4, mov, webm or gif" in error.fix
    error = problem(write_pictures(tmp_path / "pictures", numbered(3)))
    assert "a folder of its own inside the motion folder" in error.fix


@pytest.mark.parametrize("caption", ["a person waving", "a person doing the plls", "xpll", "p ll"])
def test_a_caption_without_the_token_as_a_word(folder, caption):
    (folder / "c.txt").write_text(caption)
    error = problem(folder)
    assert error.where == str(folder / "c.txt") and "lacks the token 'pll'" in error.rule
    assert "<token>" in error.fix


def test_a_template_without_the_token_is_one_problem(folder):
    write_settings(folder, template="a person dancing")
    scan = scan_motion_folder(folder)
    assert [p.where for p in scan.problems] == [str(folder / "motion.yaml")]


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("token: [a, b]", "token", "valid string"),
        ("token: two words", "", "the token is one word"),
        ("token: '<>'", "", "the token is one word"),
        ("tokn: pll", "tokn", "there is no such key"),
        ("flip: maybe", "flip", "boolean"),
        ("frame_fps: 0", "frame_fps", "greater than 0"),
        ("clips: []", "", "clips is empty"),
        ("clips: [a.webm]", "clips.0", "valid dictionary"),
        ("clips: [{file: a.webm, captoin: x}]", "clips.0.captoin", "there is no such key"),
        ("clips: [{file: none.mp4}]", "none.mp4", "there is no such clip"),
        ("clips: [{file: ../a.webm}]", "../a.webm", "inside the motion folder"),
        ("clips: [{file: /etc/passwd}]", "/etc/passwd", "inside the motion folder"),
        ("clips: [{file: motion.yaml}]", "motion.yaml", "clips are mp4"),
        ("clips: [{file: a.webm, caption: ' '}]", "", "caption of a.webm is empty"),
        ("name: '!!!'", "", "has no letter or digit"),
        ("1: 2", "1", "there is no such key"),
        ("token: [", "", "is no valid YAML in line 1"),
        ("just text", "", "holds keys and values"),
        ("token: !!python/object/apply:os.system [ls]", "", "is no valid YAML"),
    ],
)
def test_mistakes_in_motion_yaml(folder, text, where, rule):
    (folder / "motion.yaml").write_text(text)
    error = problem(folder)
    settings = str(folder / "motion.yaml")
    assert error.where == (f"{settings}: {where}" if where else settings)
    assert rule in error.rule


def test_unknown_keys_are_told_the_known_ones(folder):
    write_settings(folder, tokn="pll")
    known = "name, token, template, description, flip, frame_fps, pictures, clips"
    assert problem(folder).fix == f"known here: {known}"
    write_settings(folder, clips=[{"file": "a.webm", "text": "x"}])
    assert problem(folder).fix == "known here: file, caption"


def test_all_problems_are_found_at_once(folder):
    write_settings(folder, token=3, colour="red", template="a <token>")
    (folder / "a.txt").write_text("a person")
    (folder / "c.txt").write_text(" \n")
    (folder / "d" / "00002.jpg").unlink()
    (folder / "d" / "00009.jpg").write_bytes(b"")
    (folder / "b2.txt").write_bytes(b"\xff\xfe\x00")
    found = [f"{p.where} {p.rule}" for p in scan_motion_folder(folder).problems]
    for expected in (
        "motion.yaml: token",
        "motion.yaml: colour",
        "a.txt",
        "c.txt",
        "a picture is missing",
        "b2.txt is not UTF-8",
    ):
        assert sum(expected in line for line in found) == 1, (expected, found)


def test_the_other_ending_of_yaml_is_not_overlooked(folder):
    (folder / "motion.yml").write_text("token: sks")
    assert problem(folder).fix == "name it motion.yaml"


def test_a_folder_inside_that_may_not_be_read_is_a_problem(folder, monkeypatch):
    (folder / "lost+found").mkdir()
    iterdir = Path.iterdir

    def refusing(path: Path):
        if path.name == "lost+found":  # the administrator, who may run tests, may read any folder
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    error = problem(folder)
    assert error.where == str(folder / "lost+found")
    assert error.rule == "cannot be read: Permission denied"


# --- regularization -------------------------------------------------------------------------------


def test_a_regularization_folder_needs_plain_captions(folder):
    problems = scan_regularization_folder(folder, "pll").problems
    assert len(problems) == 5 and all("needs a caption" in p.rule for p in problems)
    write_settings(folder, template="a person waving")
    clips = load_regularization_folder(folder, "pll")
    assert [clip.caption for clip in clips] == ["a person waving"] * 5
    (folder / "a.txt").write_text("a person doing the pll")
    with pytest.raises(DataError, match=r"a.txt: .* must not contain 'pll'"):
        load_regularization_folder(folder, "pll")
    assert load_regularization_folder(folder, "sks")[0].caption == "a person doing the pll"
    (folder / "a.txt").write_text("a person doing the <token>")
    with pytest.raises(DataError, match="must not contain"):
        load_regularization_folder(folder, "sks")


# --- small parts ----------------------------------------------------------------------------------


def test_contains_word():
    assert contains_word("doing the pll, slowly", "pll") and contains_word("PLL", "pll")
    assert contains_word("a V* sign", "V*")
    assert not contains_word("plls", "pll") and not contains_word("a_pll", "pll")


def test_store_names():
    assert store_name("Swinging  arms!") == "swinging-arms"
    assert store_name("--") == "" and len(store_name("x" * 99)) == 63
    assert store_name("x" * 62 + " y") == "x" * 62


def test_the_content_hash_knows_content_and_order_only(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"content")
    (tmp_path / "b.mov").write_bytes(b"content")
    assert content_hash(tmp_path / "a.mp4") == content_hash(tmp_path / "b.mov")
    one = write_pictures(tmp_path / "one", numbered(3))
    two = write_pictures(tmp_path / "two", numbered(3), "frame{}.jpg")
    (two / "notes.txt").write_text("not part of the clip")
    assert content_hash(one) == content_hash(two)
    shutil.copy(one / "00001.jpg", one / "00004.jpg")
    assert content_hash(one) != content_hash(two)
    swapped = write_pictures(tmp_path / "three", numbered(3)[[1, 0, 2]])
    assert content_hash(swapped) != content_hash(two)
    with pytest.raises(DataError, match="cannot be read"):
        content_hash(tmp_path / "none.mp4")
