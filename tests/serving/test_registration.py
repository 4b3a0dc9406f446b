"""Registration from the server's side: nothing outside the allow-list is looked at."""

from __future__ import annotations

import os

import fsspec
import pytest

from motion_ray.errors import ConfigError, DeltaError, RequestError, StoreError, TooLargeError
from motion_ray.serving.registration import AllowedSources, register
from motion_ray.serving.uploads import UploadLimits
from motion_ray.store import DeltaStore
from tests.serving.toy import toy_delta

PLACE = "memory://bucket/motions"


@pytest.fixture
def store(tmp_path) -> DeltaStore:
    return DeltaStore(tmp_path / "store")


@pytest.fixture
def places(tmp_path) -> AllowedSources:
    (tmp_path / "open").mkdir()
    return AllowedSources.of((f"{tmp_path / 'open'}", PLACE))


@pytest.fixture
def memory():
    """The in-memory filesystem of fsspec, empty before and after."""
    filesystem = fsspec.filesystem("memory")
    filesystem.rm("/bucket", recursive=True) if filesystem.exists("/bucket") else None
    yield filesystem
    filesystem.rm("/bucket", recursive=True) if filesystem.exists("/bucket") else None


def put(memory, folder, root: str) -> None:
    for file in folder.iterdir():
        memory.pipe_file(f"{root}/{file.name}", file.read_bytes())


def test_a_folder_in_an_allowed_place_is_published(store, places, tmp_path):
    toy_delta(1).save(tmp_path / "open" / "run" / "delta")
    source = f"{tmp_path}/open/other/../run/delta"
    record = register(store, source, "wave", allowed=places)
    assert (record.reference, record.sha256) == ("wave@1", toy_delta(1).sha256)


def test_an_address_in_an_allowed_place_is_published(store, places, tmp_path, memory):
    toy_delta(1).save(tmp_path / "delta")
    put(memory, tmp_path / "delta", "/bucket/motions/wave")
    record = register(store, f"{PLACE}/wave/", "wave", allowed=places)
    assert record.sha256 == toy_delta(1).sha256


@pytest.mark.parametrize(
    ("fault", "told", "says"),
    [
        (PermissionError("denied"), RequestError, "holds no delta that can be read"),
        (ValueError("no such bucket name"), RequestError, "has no access to addresses"),
        (LookupError("no credentials"), StoreError, "cannot be reached: LookupError"),
    ],
)
def test_a_place_that_cannot_be_opened_is_told_by_whose_fault_it_is(
    store, places, memory, monkeypatch, fault, told, says
):
    def broken(*args, **kwargs):
        raise fault

    monkeypatch.setattr(type(memory), "open", broken)
    with pytest.raises(told, match=says):
        register(store, f"{PLACE}/wave/", "wave", allowed=places)
    assert store.list() == []


def hostile(tmp_path) -> list[str]:
    secret = tmp_path / "closed"
    toy_delta(1).save(secret)
    link = tmp_path / "open" / "link"
    link.symlink_to(secret)
    loop = tmp_path / "open" / "loop"
    loop.symlink_to(loop)
    sibling = tmp_path / "open-too"
    toy_delta(1).save(sibling)
    return [
        f"{secret}",
        f"{sibling}",
        f"{link}",
        f"{tmp_path}/open/../closed",
        f"{tmp_path}/open/%2e%2e/../../closed",
        "/etc",
        "/proc/self/root",
        "",
        "a\0b",
        "x" * 2000,
        os.path.relpath(secret),
        f"file://{tmp_path}/open",
        "memory://bucket/secrets",
        "memory://bucket/motions-too/wave",
        "memory://bucket/motions",
        "memory://bucket/motions/../secrets",
        "memory://bucket/motions/./../secrets",
        "memory://bucket/motions/%2e%2e/secrets",
        "memory://bucket/motions//x",
        "MEMORY://bucket/motions/wave",
        "simplecache::memory://bucket/motions/wave",
        "memory://user@bucket/motions/wave",
        "memory://bucket/motions/wave?x=1",
        "memory://bucket/motions/wave\n",
        "http://169.254.169.254/latest",
        "s3://bucket/motions/wave",
    ]


def test_everything_else_is_refused_in_the_same_words(store, places, tmp_path, memory):
    toy_delta(1).save(tmp_path / "delta")
    put(memory, tmp_path / "delta", "/bucket/secrets")
    answers = set()
    for source in hostile(tmp_path):
        with pytest.raises(RequestError) as caught:
            register(store, source, "wave", allowed=places)
        answers.add(str(caught.value))
    assert len(answers) == 1, answers
    assert store.list() == []


def test_nothing_is_allowed_unless_it_is_named(store, tmp_path):
    toy_delta(1).save(tmp_path / "delta")
    with pytest.raises(RequestError, match="lies in no place"):
        register(store, f"{tmp_path / 'delta'}", "wave", allowed=AllowedSources())


def test_a_folder_that_is_no_delta_is_not_searched(store, places, tmp_path):
    (tmp_path / "open" / "home" / "deep").mkdir(parents=True)
    for source in ("open/home", "open/nothing"):
        with pytest.raises(RequestError):
            register(store, f"{tmp_path / source}", "wave", allowed=places)


def test_links_inside_an_allowed_folder_are_refused(store, places, tmp_path):
    folder = tmp_path / "open" / "delta"
    toy_delta(1).save(folder)
    os.rename(folder / "header.json", tmp_path / "header.json")
    (folder / "header.json").symlink_to(tmp_path / "header.json")
    with pytest.raises(DeltaError, match="a symbolic link"):
        register(store, f"{folder}", "wave", allowed=places)


def test_sizes_are_looked_at_before_anything_is_read(store, places, tmp_path, memory):
    folder = tmp_path / "open" / "delta"
    toy_delta(1).save(folder)
    put(memory, folder, "/bucket/motions/wave")
    for source in (f"{folder}", f"{PLACE}/wave"):
        with pytest.raises(TooLargeError, match=r"tensors\.safetensors"):
            register(store, source, "wave", allowed=places, limits=UploadLimits(tensors=100))


def test_an_address_without_a_delta_is_told(store, places, memory):
    with pytest.raises(RequestError, match="holds no delta"):
        register(store, f"{PLACE}/nothing", "wave", allowed=places)


@pytest.mark.parametrize(
    "place",
    ["https://example.org/m", "file:///srv", "s3://", "zip://a/b", "s3://b/../c", "s3://b?"],
)
def test_an_operator_cannot_name_what_leads_elsewhere(place):
    with pytest.raises(ConfigError, match="no plain address"):
        AllowedSources.of((place,))
