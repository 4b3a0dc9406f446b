"""Uploads: what is published is what was sent; what is hostile leaves no trace."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import (
    DeltaError,
    IncompatibleMotionError,
    MotionRayError,
    RequestError,
    StoreError,
    TooLargeError,
)
from motion_ray.manifest import MANIFEST, describe
from motion_ray.serving.api_errors import api_error
from motion_ray.serving.uploads import BaseLayout, UploadLimits, publish_upload
from motion_ray.store import DeltaStore
from tests.serving.toy import ToyBase, toy_delta


class Counted(io.BytesIO):
    """A stream that knows how much of it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


class Base(ToyBase):
    text_width = 4


def files_of(delta: MotionDelta, folder: Path) -> dict[str, bytes]:
    delta.save(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def streams(files: dict[str, bytes]) -> dict[str, Counted]:
    return {name: Counted(data) for name, data in files.items()}


def sealed(files: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """The files as a hostile client would send them: with a manifest that fits."""
    folder.mkdir()
    for name, data in files.items():
        if name != MANIFEST:
            (folder / name).write_bytes(data)
    return {**files, MANIFEST: describe(folder, DeltaError).encode()}


@pytest.fixture
def store(tmp_path) -> DeltaStore:
    return DeltaStore(tmp_path / "store")


@pytest.fixture
def layout() -> BaseLayout:
    return BaseLayout.of(Base())


@pytest.mark.parametrize("parametrization", ["full", "lora", "int8"])
def test_what_is_sent_is_what_is_published(store, layout, tmp_path, parametrization):
    delta = toy_delta(1, "abc", parametrization=parametrization, row=3.0)
    files = files_of(delta, tmp_path / "delta")
    record = publish_upload(store, streams(files), "wave", base=layout)
    assert (record.reference, record.sha256) == ("wave@1", delta.sha256)
    found = store.load("wave")
    assert found.header == delta.header and found.tensors.keys() == delta.tensors.keys()
    assert all(torch.equal(found.tensors[name], delta.tensors[name]) for name in found.tensors)


def test_the_same_again_is_the_same_version_and_other_content_the_next(store, layout, tmp_path):
    files = files_of(toy_delta(1), tmp_path / "one")
    others = files_of(toy_delta(2), tmp_path / "two")
    for sent, reference in ((files, "wave@1"), (files, "wave@1"), (others, "wave@2")):
        record = publish_upload(store, streams(sent), "wave", base=layout)
        assert record.reference == reference


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "Wave", "w" * 64, "%2e%2e", "wave\n", "ｗave", "con.", "-"]
)
def test_a_name_cannot_leave_the_store(store, tmp_path, name):
    files = files_of(toy_delta(1), tmp_path / "delta")
    with pytest.raises(RequestError, match="lower-case"):
        publish_upload(store, streams(files), name)
    assert not (tmp_path / "store").exists()


def test_only_the_files_of_a_delta_are_taken(store, tmp_path):
    files = files_of(toy_delta(1), tmp_path / "delta")
    for extra in ("../../evil", "model.pkl", "", "x" * 5000):
        sent = streams({**files, extra: b"0"})
        with pytest.raises(RequestError, match="is not taken"):
            publish_upload(store, sent, "wave")
        assert sum(stream.taken for stream in sent.values()) == 0
    del files[MANIFEST]
    with pytest.raises(RequestError, match=r"manifest\.json is missing"):
        publish_upload(store, streams(files), "wave")


@pytest.mark.parametrize("name", ["header.json", "tensors.safetensors", "manifest.json"])
def test_what_is_too_large_is_not_read_to_its_end(store, tmp_path, name):
    files = {**files_of(toy_delta(1), tmp_path / "delta"), name: bytes(9 * 2**20)}
    limits = UploadLimits(tensors=2**20, header=2**20, manifest=2**20)
    sent = streams(files)
    with pytest.raises(TooLargeError, match=f"{name} has more than 1,048,576 bytes"):
        publish_upload(store, sent, "wave", limits=limits)
    assert sent[name].taken <= 2 * 2**20
    assert not (tmp_path / "store").exists()


def test_every_changed_byte_is_noticed(store, tmp_path):
    files = files_of(toy_delta(1), tmp_path / "delta")
    generator = torch.Generator().manual_seed(0)
    for name, data in files.items():
        for _ in range(25):
            place = int(torch.randint(len(data), (), generator=generator))
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(torch.randint(8, (), generator=generator))
            with pytest.raises(DeltaError):
                publish_upload(store, streams({**files, name: bytes(damaged)}), "wave")
    assert store.list() == []


def _spoiled_header(files: dict[str, bytes], **changes: object) -> bytes:
    content = json.loads(files["header.json"])
    content["header"] |= changes
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("spoil", "kind", "rule"),
    [
        (lambda f: {"tensors.safetensors": b"\x80\x04cposix\nsystem\n."}, DeltaError, "safetensor"),
        (lambda f: {"tensors.safetensors": b""}, DeltaError, "not a safetensors file"),
        (lambda f: {"tensors.safetensors": b"\xff" * 64}, DeltaError, "not a safetensors file"),
        (
            lambda f: {"tensors.safetensors": (8).to_bytes(8, "little") + b"{}      "},
            DeltaError,
            "missing",
        ),
        (lambda f: {"tensors.safetensors": f["tensors.safetensors"][:-4]}, DeltaError, "readable"),
        (
            lambda f: {"tensors.safetensors": f["tensors.safetensors"] + b"0000"},
            DeltaError,
            "readable",
        ),
        (lambda f: {"header.json": b"[" * 100_000}, DeltaError, "is not a delta header"),
        (lambda f: {"header.json": b"{}"}, DeltaError, "is not a delta header"),
        (lambda f: {"header.json": _spoiled_header(f, evil=1)}, DeltaError, "evil"),
        (lambda f: {"header.json": _spoiled_header(f, step=-1)}, DeltaError, "step"),
        (lambda f: {"header.json": _spoiled_header(f, token="a robot")}, RequestError, "token"),
        (lambda f: {"header.json": _spoiled_header(f, token="x" * 65)}, RequestError, "token"),
        (lambda f: {"header.json": _spoiled_header(f, base="a\nb")}, RequestError, "base is no"),
        (lambda f: {"header.json": _spoiled_header(f, template="t" * 1001)}, RequestError, "temp"),
    ],
)
def test_hostile_files_are_refused_and_leave_nothing(
    store, layout, tmp_path, monkeypatch, spoil, kind, rule
):
    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}")
    files = files_of(toy_delta(1), tmp_path / "delta")
    sent = sealed({**files, **spoil(files)}, tmp_path / "sealed")
    before = set(tmp_path.iterdir())
    with pytest.raises(kind, match=rule) as caught:
        publish_upload(store, streams(sent), "wave", base=layout)
    assert set(tmp_path.iterdir()) == before and store.list() == []
    answer = api_error(caught.value)
    assert answer.status == 422 and f"{tmp_path}" not in answer.envelope.model_dump_json()


def test_values_that_are_not_finite_are_refused(store, layout, tmp_path):
    delta = toy_delta(1)
    files = files_of(delta, tmp_path / "delta")
    for value in (float("nan"), float("inf"), float("-inf")):
        spoiled = bytearray(files["tensors.safetensors"])
        spoiled[-4:] = torch.tensor([value]).numpy().tobytes()
        folder = tmp_path / f"sealed{value}"
        sent = sealed({**files, "tensors.safetensors": bytes(spoiled)}, folder)
        with pytest.raises(DeltaError, match="NaN or infinite"):
            publish_upload(store, streams(sent), "wave", base=layout)


def test_a_motion_of_another_base_is_told_apart(store, layout, tmp_path):
    wrong = {
        "another": toy_delta(1, base_fingerprint="f" * 64),
        "extra": MotionDelta(toy_delta(1).header, {"zzz": torch.ones(3)}),
        "shape": MotionDelta(toy_delta(1).header, {"a": torch.ones(8, 9)}),
        "row": MotionDelta(toy_delta(1).header, {"token_embedding": torch.ones(5)}),
    }
    for name, delta in wrong.items():
        files = files_of(delta, tmp_path / name)
        with pytest.raises(IncompatibleMotionError, match="does not fit the served base") as caught:
            publish_upload(store, streams(files), "wave", base=layout)
        assert api_error(caught.value).envelope.error.code == "motion_incompatible"
    assert store.list() == []


def test_the_layout_of_a_real_base_needs_no_weights(tiny_bases, tmp_path, store):
    from tests.deltas import changed, header

    backbone, _ = sketch_backbone(f"{tiny_bases['epsilon']}", torch.float32)
    layout = BaseLayout.of(backbone)
    delta = MotionDelta(header(backbone), changed(backbone))
    record = publish_upload(store, streams(files_of(delta, tmp_path / "d")), "wave", base=layout)
    assert record.sha256 == delta.sha256


def test_a_full_temporary_folder_is_the_servers_fault(store, tmp_path, monkeypatch):
    def full(path: Path, chunks: object, mode: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("motion_ray.serving.uploads.write_new_file", full)
    files = files_of(toy_delta(1), tmp_path / "delta")
    with pytest.raises(StoreError, match="No space") as caught:
        publish_upload(store, streams(files), "wave")
    assert api_error(caught.value).status == 503


def test_a_client_that_goes_away_leaves_nothing(store, tmp_path, monkeypatch):
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError("the client left")

    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}")
    files = files_of(toy_delta(1), tmp_path / "delta")
    sent = {**streams(files), "manifest.json": Gone()}
    before = set(tmp_path.iterdir())
    with pytest.raises(MotionRayError):
        publish_upload(store, sent, "wave")
    assert set(tmp_path.iterdir()) == before


def test_a_file_written_here_is_not_needed_twice(store, layout, tmp_path):
    """A motion that is downloaded from one store can be sent to another as it is."""
    first = publish_upload(store, streams(files_of(toy_delta(1), tmp_path / "d")), "wave")
    folder = tmp_path / "store" / "objects" / first.sha256
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    other = DeltaStore(tmp_path / "other")
    assert publish_upload(other, streams(files), "copy", base=layout).sha256 == first.sha256
