"""The store: versions by name, equal content once, several publishers, no damage unnoticed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import (
    BrokenRefError,
    DeltaError,
    MotionRayError,
    StoreError,
    UnknownMotionError,
)
from motion_ray.shelves import LocalShelf
from motion_ray.store import DeltaStore, check_name
from motion_ray.temporaries import is_temporary
from tests.crash import numbered_delta
from tests.disks import small_disk


@pytest.fixture(params=["local", "file", "memory"])
def place(request, tmp_path) -> Iterator[str]:
    """The same store in a folder, under a file URI, and on another fsspec filesystem."""
    yield {
        "local": f"{tmp_path}/store",
        "file": f"file://{tmp_path}/store",
        "memory": f"memory://{tmp_path.name}/store",
    }[request.param]
    MemoryFileSystem.store.clear()


def same(one: MotionDelta, other: MotionDelta) -> bool:
    return (
        one.sha256 == other.sha256
        and one.header == other.header
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in other.tensors)
    )


# --- publishing and loading -----------------------------------------------------------------------


def test_versions_count_up_and_equal_content_is_published_once(place):
    store = DeltaStore(place)
    assert store.publish(numbered_delta(7), "wave") == "wave@1"
    assert store.publish(numbered_delta(8), "wave") == "wave@2"
    assert store.publish(numbered_delta(7), "wave") == "wave@1"
    assert DeltaStore(place).publish(numbered_delta(8), "wave") == "wave@2"
    assert store.publish(numbered_delta(7), "jump") == "jump@1"
    assert [record.reference for record in store.list()] == ["jump@1", "wave@1", "wave@2"]


def test_a_withdrawn_version_is_gone_and_its_number_stays_taken(place):
    store = DeltaStore(place)
    for seed in (1, 2, 3):
        store.publish(numbered_delta(seed), "wave")
    assert [each.reference for each in store.withdraw("wave@3")] == ["wave@3"]
    assert store.resolve("wave").version == 2
    with pytest.raises(UnknownMotionError):
        store.load("wave@3")
    assert store.publish(numbered_delta(3), "wave") == "wave@4"
    assert [each.version for each in store.withdraw("wave")] == [1, 2, 4]
    with pytest.raises(UnknownMotionError):
        store.withdraw("wave")
    assert store.list() == []
    assert store.publish(numbered_delta(1), "wave") == "wave@5"


def test_withdrawing_leaves_the_same_content_under_other_names(place):
    store = DeltaStore(place)
    store.publish(numbered_delta(1), "wave")
    store.publish(numbered_delta(1), "jump")
    store.withdraw("wave")
    assert same(store.load("jump"), numbered_delta(1))


def test_what_is_loaded_is_what_was_published(place):
    store = DeltaStore(place)
    for number in (7, 8):
        store.publish(numbered_delta(number), "wave")
    again = DeltaStore(place)
    assert same(again.load("wave@1"), numbered_delta(7))
    assert same(again.load("wave@2"), numbered_delta(8))
    assert same(again.load("wave"), numbered_delta(8))


def test_a_record_says_what_is_needed_to_choose(place):
    store = DeltaStore(place)
    delta = numbered_delta(7)
    store.publish(delta, "wave")
    record = store.resolve("wave")
    assert (record.name, record.version, record.reference) == ("wave", 1, "wave@1")
    assert record.sha256 == delta.sha256
    assert record.nbytes == delta.nbytes == 65 * 4
    assert record.base_fingerprint == "f" * 64
    assert (record.token, record.template) == ("pll", "a person doing the <token>")
    assert (record.recipe, record.step, record.base) == ("crash", 7, "none")


def test_an_empty_store_says_so(place):
    store = DeltaStore(place)
    assert store.list() == []
    with pytest.raises(StoreError, match="has no motion 'wave'; it holds: nothing yet"):
        store.load("wave")


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file: is no folder; a store is"):
        DeltaStore(tmp_path / "file")


def test_an_unknown_name_or_version_lists_what_there_is(place):
    store = DeltaStore(place)
    store.publish(numbered_delta(7), "wave")
    with pytest.raises(StoreError, match="has no motion 'jump'; it holds: wave"):
        store.resolve("jump")
    with pytest.raises(StoreError, match="has no wave@3; versions of wave: 1"):
        store.load("wave@3")


def test_a_motion_that_was_not_there_a_moment_ago_is_looked_for_again(tmp_path, monkeypatch):
    """From the top, as a network filesystem needs it to forget that it was not there."""
    store = DeltaStore(tmp_path)
    store.publish(numbered_delta(7), "wave")
    look, looks = LocalShelf.versions, []

    def forgetful(shelf: LocalShelf, name: str) -> list[int]:
        looks.append(name)
        return [] if looks == ["wave"] else look(shelf, name)

    monkeypatch.setattr(LocalShelf, "versions", forgetful)
    assert store.resolve("wave@1").version == 1 and looks == ["wave", "wave"]


def test_the_message_of_a_large_store_stays_short(place):
    store = DeltaStore(place)
    for number in range(23):
        store.publish(numbered_delta(1), f"m{number:02}")
    with pytest.raises(UnknownMotionError, match=r"it holds: m00, .*, m19 and 3 more$"):
        store.resolve("jump")


def test_versions_are_listed_without_reading_refs(tmp_path):
    store = DeltaStore(tmp_path)
    for number in (7, 8):
        store.publish(numbered_delta(number), "wave")
    (tmp_path / "refs/wave/2.json").write_bytes(b"damaged")
    assert store.versions() == [("wave", 1), ("wave", 2)]
    assert [record.reference for record in store.list()] == ["wave@1"]


def test_more_than_nine_versions_are_in_order(place):
    store = DeltaStore(place)
    for number in range(12):
        store.publish(numbered_delta(number), "wave")
    assert [record.version for record in store.list()] == list(range(1, 13))
    assert store.resolve("wave").version == 12


def test_looking_creates_nothing(tmp_path):
    store = DeltaStore(tmp_path / "store")
    store.list()
    with pytest.raises(StoreError):
        store.load("wave")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_filesystem_is_explained():
    with pytest.raises(StoreError, match="nowhere://x: cannot be opened"):
        DeltaStore("nowhere://x")


def test_a_delta_changed_after_it_was_made_is_not_published(place):
    """The trainer's parameters go on changing; a delta must hold copies of them."""
    delta = numbered_delta(7)
    assert delta.sha256
    delta.tensors["a"].add_(1)
    store = DeltaStore(place)
    with pytest.raises(DeltaError, match="changed after it was made; give MotionDelta copies"):
        store.publish(delta, "wave")
    assert store.list() == []


# --- names ----------------------------------------------------------------------------------------

HOSTILE = [
    *("", ".", "..", "../wave", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "wave/../../x"),
    *("-wave", "Wave", "wave_1", "wave.json", "wäve", "wave\n", "wave\0", " wave", "wave ", "~"),
    *("%2e%2e%2f", "a" * 64, "a" * 4096, "~root", "CON ", "wave:1", "ｗave", "..%c0%af", "wave*"),
    *("$(id)", "file:///etc"),
]
BAD_VERSIONS = ("0", "-1", "01", "", "1@2", "a", "9999999999", " 1", "1\n")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_names_cannot_leave_the_store(tmp_path, name):
    store = DeltaStore(tmp_path / "store")
    with pytest.raises(StoreError):
        store.publish(numbered_delta(7), name)
    with pytest.raises(StoreError):
        check_name(name)
    for reference in (name, f"{name}@1"):
        with pytest.raises(StoreError):
            store.load(reference)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", BAD_VERSIONS, ids=ascii)
def test_versions_are_plain_numbers(tmp_path, version):
    store = DeltaStore(tmp_path)
    store.publish(numbered_delta(7), "wave")
    with pytest.raises(StoreError, match="for example swinging-arms or swinging-arms@2"):
        store.load(f"wave@{version}")


def test_a_name_takes_no_version_when_publishing(tmp_path):
    with pytest.raises(StoreError, match="a name has 1 to 63"):
        DeltaStore(tmp_path).publish(numbered_delta(7), "wave@2")


@pytest.mark.parametrize("name", ["a", "0", "swinging-arms", "a" * 63, "a-", "1-2-3"])
def test_good_names(tmp_path, name):
    store = DeltaStore(tmp_path)
    assert store.publish(numbered_delta(7), name) == f"{name}@1"
    assert same(store.load(name), numbered_delta(7))


def test_links_in_a_store_are_refused(tmp_path):
    store = DeltaStore(tmp_path / "store")
    store.publish(numbered_delta(7), "wave")
    objects, refs = tmp_path / "store" / "objects", tmp_path / "store" / "refs"
    (object_,) = objects.iterdir()
    for path in (object_, object_ / "header.json", refs / "wave", refs / "wave" / "1.json"):
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(MotionRayError, match=r"symbolic link|cannot be read: too many levels"):
            store.load("wave@1")
        path.unlink()
        (tmp_path / "elsewhere").rename(path)
    assert same(store.load("wave"), numbered_delta(7))


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path) -> DeltaStore:
    """A store with ``wave@1`` (7), ``wave@2`` (8) and ``jump@1`` (9)."""
    store = DeltaStore(tmp_path / "store")
    store.publish(numbered_delta(7), "wave")
    store.publish(numbered_delta(8), "wave")
    store.publish(numbered_delta(9), "jump")
    return store


EXPECTED = {"wave@1": 7, "wave@2": 8, "jump@1": 9, "wave": 8, "jump": 9}


def judge(store: DeltaStore) -> tuple[int, int]:
    """(references refused, references that load but are wrong)."""
    refused = wrong = 0
    for reference, number in EXPECTED.items():
        try:
            wrong += not same(store.load(reference), numbered_delta(number))
        except MotionRayError:
            refused += 1
    return refused, wrong


def test_500_flipped_bits_anywhere_are_all_refused(two, tmp_path):
    files = sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert len(files) == 3 * 3 + 3
    chance = random.Random(5)
    unnoticed = silently_wrong = 0
    for _ in range(500):
        path = chance.choice(files)
        data = path.read_bytes()
        flipped = bytearray(data)
        bit = chance.randrange(len(data) * 8)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        refused, wrong = judge(two)
        unnoticed += refused == 0
        silently_wrong += wrong
        path.write_bytes(data)
    assert (unnoticed, silently_wrong) == (0, 0)
    assert judge(two) == (0, 0)


def test_swapped_objects_and_refs_are_refused(two, tmp_path):
    """Every file of them is intact, only in the wrong place."""
    objects = sorted((tmp_path / "store" / "objects").iterdir())
    refs = sorted((tmp_path / "store" / "refs").rglob("*.json"))
    swaps = 0
    for group in (objects, refs):
        for one in group:
            for other in group:
                if one < other:
                    swap(one, other)
                    refused, wrong = judge(two)
                    swap(one, other)
                    assert refused >= 2 and wrong == 0, (one, other)
                    swaps += 1
    assert swaps == 6
    assert judge(two) == (0, 0)


def swap(one: Path, other: Path) -> None:
    aside = one.parent / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_a_missing_object_is_named(two, tmp_path):
    shutil.rmtree(tmp_path / "store" / "objects" / numbered_delta(8).sha256)
    with pytest.raises(DeltaError, match=f"{numbered_delta(8).sha256}: there is no such delta"):
        two.load("wave")
    assert same(two.load("wave@1"), numbered_delta(7))


def test_publishing_again_repairs_a_damaged_object(two, tmp_path, caplog):
    path = tmp_path / "store" / "objects" / numbered_delta(8).sha256 / "header.json"
    path.write_text("{}")
    with pytest.raises(DeltaError):
        two.load("wave@2")
    assert two.publish(numbered_delta(8), "wave") == "wave@2"
    assert "is damaged and will be written again" in caplog.text
    assert judge(two) == (0, 0)


def test_a_damaged_ref_is_left_out_of_the_list_but_never_passed_over(two, tmp_path, caplog):
    (tmp_path / "store" / "refs" / "wave" / "2.json").write_text("{}")
    assert [record.reference for record in two.list()] == ["jump@1", "wave@1"]
    assert "2.json: is damaged" in caplog.text
    with pytest.raises(BrokenRefError, match=r"2\.json: is damaged"):
        two.load("wave")  # falling back to version 1 would be another motion than asked for
    assert two.publish(numbered_delta(10), "wave") == "wave@3"


def test_half_an_object_of_a_remote_place_is_written_again():
    store = DeltaStore("memory://half/store")
    try:
        store.publish(numbered_delta(7), "wave")
        folder = f"/half/store/objects/{numbered_delta(7).sha256}"
        filesystem = MemoryFileSystem()
        filesystem.rm_file(f"{folder}/manifest.json")
        with pytest.raises(DeltaError, match=r"manifest\.json: is missing"):
            store.load("wave")
        assert store.publish(numbered_delta(7), "wave") == "wave@1"
        filesystem.pipe_file(f"{folder}/header.json", b"{}")
        with pytest.raises(DeltaError, match=r"header\.json: is damaged"):
            store.load("wave")
        assert store.publish(numbered_delta(7), "wave") == "wave@1"
        assert same(store.load("wave"), numbered_delta(7))
    finally:
        MemoryFileSystem.store.clear()


@pytest.mark.parametrize("call", ["ls", "read_block", "get_file", "makedirs", "put_file"])
def test_an_error_of_the_filesystems_own_library_is_one_of_the_store(call, monkeypatch):
    """Those of botocore, for example, are no OSError."""

    class EndpointConnectionError(Exception):
        pass

    def unreachable(*args: object, **kwargs: object) -> None:
        raise EndpointConnectionError("could not connect to the endpoint")

    store = DeltaStore("memory://far/store")
    try:
        store.publish(numbered_delta(7), "wave")
        monkeypatch.setattr(MemoryFileSystem, call, unreachable)
        with pytest.raises(StoreError, match="cannot be reached: EndpointConnectionError"):
            store.load("wave")
            store.publish(numbered_delta(8), "wave")
    finally:
        MemoryFileSystem.store.clear()


# --- several publishers ---------------------------------------------------------------------------


def test_8_processes_publish_at_once(tmp_path):
    """Each has 20 deltas, 10 of them its own: 90 versions, none twice, none lost."""
    chance = random.Random(0)
    numbers = []
    for process in range(8):
        mine = [*range(10), *range(100 * (process + 1), 100 * (process + 1) + 10)]
        chance.shuffle(mine)
        numbers.append(mine)
    command = [sys.executable, "-m", "tests.crash", "publish", f"{tmp_path}", json.dumps(numbers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answers = json.loads(done.stdout)
    store = DeltaStore(tmp_path)
    there = {record.reference: record.step for record in store.list()}
    assert sorted(there.values()) == sorted({number for mine in numbers for number in mine})
    assert len(there) == 10 + 8 * 10
    assert store.resolve("wave").version == 90
    for mine, references in zip(numbers, answers, strict=True):
        assert [there[reference] for reference in references] == mine
    for reference, number in there.items():
        assert same(store.load(reference), numbered_delta(number))
    assert not any(is_temporary(path.name) for path in tmp_path.rglob(".*"))


def test_threads_publish_at_once(tmp_path):
    references = published_by_8_threads(DeltaStore(tmp_path), list(range(8)))
    assert sorted(references) == [f"wave@{version}" for version in range(1, 9)]


def test_threads_publish_equal_content_at_once(place):
    assert set(published_by_8_threads(DeltaStore(place), [0] * 8)) == {"wave@1"}


def published_by_8_threads(store: DeltaStore, numbers: list[int]) -> list[str]:
    start = threading.Barrier(8)
    references: list[str] = []

    def publish(number: int) -> None:
        start.wait()
        references.append(store.publish(numbered_delta(number), "wave"))

    threads = [threading.Thread(target=publish, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(references) == 8
    return references


@pytest.mark.slow
@pytest.mark.parametrize(
    "rounds", [50, pytest.param(500, marks=[pytest.mark.chaos, pytest.mark.timeout(1200)])]
)
def test_kill_9_while_publishing(tmp_path, rounds):
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        command = [sys.executable, "-m", "tests.crash", "store", folder, f"{rounds}", "3"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        outcome = json.loads(done.stdout)
        assert outcome["broken"] == [] and outcome["lost"] == []
        assert outcome["kills"] == rounds
        assert outcome["in_the_middle"] >= rounds // 10, "too few kills hit a writer at work"
        assert outcome["verified"] >= 50
        DeltaStore(folder).publish(numbered_delta(1), "wave")
        left = [path for path in Path(folder).rglob(".*") if is_temporary(path.name)]
        assert left == []


# --- disks ----------------------------------------------------------------------------------------


def test_a_full_disk():
    with small_disk(megabytes=1) as disk:
        store = DeltaStore(disk / "store")
        store.publish(numbered_delta(7), "wave")
        big = MotionDelta(numbered_delta(8).header, {"a": torch.ones(500_000)})
        with pytest.raises(StoreError, match="the disk is full; free at least 1 MB"):
            store.publish(big, "wave")
        assert [record.reference for record in store.list()] == ["wave@1"]
        assert same(store.load("wave"), numbered_delta(7))
        assert not any(is_temporary(path.name) for path in disk.rglob(".*"))
        assert store.publish(numbered_delta(9), "wave") == "wave@2"


def test_a_read_only_disk_can_be_read():
    with small_disk(megabytes=1) as disk:
        DeltaStore(disk / "store").publish(numbered_delta(7), "wave")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        store = DeltaStore(disk / "store")
        assert same(store.load("wave"), numbered_delta(7))
        with pytest.raises(StoreError, match="cannot be written: read-only file system"):
            store.publish(numbered_delta(8), "wave")
        assert store.publish(numbered_delta(7), "wave") == "wave@1"
