"""The catalog: what was just published is there, what never changes is read once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from motion_ray.errors import StoreError, UnknownMotionError, UnknownTokenError
from motion_ray.evaluation.prompts import contains_word
from motion_ray.serving import prompt_motions
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.prompt_motions import TokenIndex, motions_in
from motion_ray.store import DeltaStore
from tests.serving.toy import FINGERPRINT, toy_delta


class CountingStore(DeltaStore):
    """A store that counts the references it resolves."""

    def __init__(self, uri: Any) -> None:
        super().__init__(uri)
        self.resolved: list[str] = []

    def resolve(self, reference: str):
        self.resolved.append(reference)
        return super().resolve(reference)


@pytest.fixture
def store(tmp_path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def catalog(store, now) -> MotionCatalog:
    return MotionCatalog(store, FINGERPRINT, clock=lambda: now[0])


def test_a_published_motion_is_there_at_once(store, catalog):
    store.publish(toy_delta(1), "arms")
    assert catalog.resolve("arms").version == 1
    store.publish(toy_delta(2), "arms")
    assert catalog.resolve("arms").version == 2
    assert catalog.resolve("arms", 1).sha256 == toy_delta(1).sha256


def test_a_version_is_read_once(store, catalog):
    store.publish(toy_delta(1), "arms")
    for _ in range(3):
        catalog.resolve("arms", 1)
    assert store.resolved == ["arms@1"]


def test_an_unknown_name_is_looked_up_once_in_a_while(store, catalog, now):
    for _ in range(3):
        with pytest.raises(UnknownMotionError):
            catalog.resolve("arms")
    assert store.resolved == ["arms"]
    store.publish(toy_delta(1), "arms")
    now[0] = 2.0
    assert catalog.resolve("arms").version == 1


def test_who_publishes_can_say_so(store, catalog):
    for version in (None, 1):
        with pytest.raises(UnknownMotionError):
            catalog.resolve("arms", version)
    assert catalog.motions() == []
    store.publish(toy_delta(1), "arms")
    catalog.published("arms")
    assert catalog.resolve("arms", 1) == catalog.resolve("arms")
    assert [record.name for record in catalog.motions()] == ["arms"]


def test_a_token_published_a_moment_ago_is_found(store, catalog, now):
    assert catalog.asked_for("a robot waving") == []
    store.publish(toy_delta(1, token="zwx"), "arms")
    with pytest.raises(UnknownTokenError):
        catalog.asked_for("doing the zwx")
    now[0] = 0.1
    assert [record.name for record in catalog.asked_for("doing the zwx")] == ["arms"]


@pytest.mark.parametrize(
    ("token", "prompt"),
    [
        ("zorp", "a person doing the zorp"),
        ("twist", "people do a twist at night"),
        ("ohwx", "an ohwx robot"),
        ("wave", "a dog with a wave"),  # as the template of a motion that is known has it
    ],
)
def test_so_is_one_that_looks_like_english(store, catalog, now, token, prompt):
    store.publish(toy_delta(9, template="a person with <token>"), "hat")
    assert catalog.asked_for("a robot waving") == []
    store.publish(toy_delta(1, token=token), "arms")
    now[0] = 0.1
    assert [record.name for record in catalog.asked_for(prompt)] == ["arms"]


def test_other_words_are_no_reason_to_list_the_store_again(tmp_path, now):
    store = SlowStore(tmp_path / "store")
    store.publish(toy_delta(1), "arms")
    catalog = MotionCatalog(store, FINGERPRINT, clock=lambda: now[0])
    catalog.asked_for("a robot waving")
    for now[0] in (0.2, 0.4, 0.6):
        catalog.asked_for("a red robot waving at a dog beside the pll")
    assert store.lists == 1
    catalog.asked_for("a robot doing the dishes")
    assert store.lists == 2


def test_the_newest_version_of_a_token_counts_without_delay(store, catalog):
    store.publish(toy_delta(1), "arms")
    assert [record.version for record in catalog.asked_for("the pll")] == [1]
    store.publish(toy_delta(2), "arms")
    assert [record.version for record in catalog.asked_for("the pll")] == [2]


def test_motions_and_versions(store, catalog, now):
    for seed in (1, 2):
        store.publish(toy_delta(seed), "arms")
    store.publish(toy_delta(3), "hat")
    assert [record.reference for record in catalog.motions()] == ["arms@2", "hat@1"]
    assert [record.version for record in catalog.versions("arms")] == [1, 2]
    reads = len(store.resolved)
    now[0] = 5.0
    catalog.motions()
    assert len(store.resolved) == reads, "a version cannot change, so it is not read again"


def test_a_damaged_entry_is_told_once_and_found_when_mended(store, catalog, now, caplog, tmp_path):
    store.publish(toy_delta(1), "arms")
    store.publish(toy_delta(2), "hat")
    ref = tmp_path / "store/refs/hat/1.json"
    intact = ref.read_bytes()
    ref.write_bytes(b"{}")
    for second in (0.0, 1.0, 2.0):
        now[0] = second
        assert [record.name for record in catalog.motions()] == ["arms"]
    assert caplog.text.count("left out") == 1
    with pytest.raises(StoreError, match="is damaged"):
        catalog.resolve("hat")
    ref.write_bytes(intact)
    now[0] = 3.0
    assert [record.name for record in catalog.motions()] == ["arms", "hat"]


def test_a_motion_that_was_removed_is_gone(store, catalog, now, tmp_path):
    store.publish(toy_delta(1), "arms")
    assert catalog.resolve("arms", 1)
    (tmp_path / "store/refs/arms/1.json").unlink()
    now[0] = 1.0
    assert catalog.motions() == []
    with pytest.raises(UnknownMotionError):
        catalog.resolve("arms", 1)


def test_who_withdraws_can_say_so(store, catalog):
    store.publish(toy_delta(1), "arms")
    store.publish(toy_delta(2), "arms")
    assert catalog.resolve("arms", 2).version == 2
    store.withdraw("arms@2")
    catalog.withdrawn("arms")
    with pytest.raises(UnknownMotionError):
        catalog.resolve("arms", 2)
    assert [each.version for each in catalog.versions("arms")] == [1]
    assert [each.reference for each in catalog.asked_for("doing the pll")] == ["arms@1"]


def test_of_a_thousand_motions_only_odd_tokens_are_searched_for(monkeypatch):
    """The others are looked up among the prompt's words, which takes a hundredth of the time."""
    searched: list[str] = []

    def contains(text: str, word: str) -> bool:
        searched.append(word)
        return contains_word(text, word)

    monkeypatch.setattr(prompt_motions, "contains_word", contains)
    owners = {f"t{number}k": (f"m{number}",) for number in range(1000)}
    index = TokenIndex(owners | {"v*": ("odd",)})
    assert motions_in("a robot doing the t500k and the t3k", index) == ["m500", "m3"]
    assert searched == ["v*"]


class SlowStore(DeltaStore):
    """A store far away: a list, or what is read after it, comes when a test lets it."""

    def __init__(self, uri: Any) -> None:
        super().__init__(uri)
        self.read_slowly = False
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.lists = 0

    def versions(self):
        self.lists += 1
        found = super().versions()
        if not self.read_slowly:
            self._arrive()
        return found

    def resolve(self, reference: str):
        found = super().resolve(reference)
        if self.read_slowly:
            self._arrive()
        return found

    def _arrive(self) -> None:
        self.asked.set()
        assert self.go_on.wait(20)


def test_while_the_store_is_listed_the_old_list_is_served(tmp_path, now):
    store = SlowStore(tmp_path / "store")
    catalog = MotionCatalog(store, FINGERPRINT, clock=lambda: now[0])
    store.publish(toy_delta(1), "arms")
    assert [each.name for each in catalog.motions()] == ["arms"]
    now[0] = 5.0
    store.asked.clear()
    store.go_on.clear()
    with ThreadPoolExecutor(1) as thread:
        listing = thread.submit(catalog.motions)
        assert store.asked.wait(20)
        store.publish(toy_delta(2), "hat")
        assert [each.name for each in catalog.motions()] == ["arms"]
        assert catalog.resolve("hat").name == "hat", "nobody waits for a list by id"
        assert not listing.done() and store.lists == 2
        store.go_on.set()
        listing.result()
    assert [each.name for each in catalog.motions()] == ["arms", "hat"]


def test_a_list_from_before_a_withdrawal_brings_nothing_back(tmp_path, now):
    store = SlowStore(tmp_path / "store")
    catalog = MotionCatalog(store, FINGERPRINT, clock=lambda: now[0])
    store.publish(toy_delta(1), "arms")
    store.read_slowly = True
    store.go_on.clear()
    with ThreadPoolExecutor(2) as threads:
        listing = threads.submit(catalog.motions)
        assert store.asked.wait(20)
        DeltaStore(tmp_path / "store").withdraw("arms")
        catalog.withdrawn("arms")
        told = threads.submit(catalog.versions, "arms")  # waits: it must not be an old list
        store.go_on.set()
        assert listing.result() == told.result() == []
    with pytest.raises(UnknownMotionError):
        catalog.resolve("arms", 1)
