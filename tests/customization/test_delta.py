"""Deltas on disk: the same bytes and id everywhere; every damage is refused and named."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import DeltaError
from motion_ray.files import atomic_directory
from motion_ray.manifest import canonical_json
from tests.deltas import changed, header
from tests.disks import small_disk

FILES = ("header.json", "tensors.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def delta(backbone) -> MotionDelta:
    return MotionDelta(header(backbone), changed(backbone))


@pytest.fixture
def saved(delta, tmp_path) -> Path:
    delta.save(tmp_path / "delta")
    return tmp_path / "delta"


# --- round trip and content id --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_round_trip_keeps_everything(backbone, tmp_path, dtype):
    delta = MotionDelta(header(backbone), changed(backbone, dtype=dtype))
    delta.save(tmp_path / "delta")
    found = MotionDelta.load(tmp_path / "delta")
    assert found.header == delta.header
    assert found.tensors.keys() == delta.tensors.keys()
    assert all(torch.equal(found.tensors[name], delta.tensors[name]) for name in delta.tensors)
    assert {tensor.dtype for tensor in found.tensors.values()} == {dtype}
    assert found.nbytes == delta.nbytes > 0
    assert found.sha256 == delta.sha256 == MotionDelta.identify(tmp_path / "delta")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["delta"]
    assert sorted(entry.name for entry in (tmp_path / "delta").iterdir()) == sorted(FILES)


def test_any_safetensors_reader_reads_it(saved, delta):
    found = safetensors.torch.load_file(saved / "tensors.safetensors")
    assert all(torch.equal(found[name], delta.tensors[name]) for name in delta.tensors)


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "/home/someone/models/tiny"},
        {"versions": {"torch": "9.9"}},
        {"metrics": {"seconds": 12.5}},
        {"config": {"motion": "/home/someone/clips"}},
        {"sources": {}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_content_id_ignores_where_and_when(backbone, delta, changes):
    other = MotionDelta(header(backbone, **changes), dict(reversed(changed(backbone).items())))
    assert other.sha256 == delta.sha256


IDENTITY = {
    "base_fingerprint": "0" * 64,
    "recipe": "custom_diffusion",
    "name": "jumping",
    "token": "sks",
    "template": "the <token>",
    "step": 301,
}


@pytest.mark.parametrize("field", IDENTITY)
def test_the_content_id_holds_what_the_motion_is(backbone, delta, field):
    other = header(backbone, **{field: IDENTITY[field]})
    assert MotionDelta(other, delta.tensors).sha256 != delta.sha256


def test_the_content_id_changes_with_any_value_type_or_name(backbone, delta):
    name, tensor = next(iter(delta.tensors.items()))
    one_ulp = torch.nextafter(tensor, torch.full_like(tensor, 10.0))
    one_ulp.flatten()[1:] = tensor.flatten()[1:]
    rest = {key: value for key, value in delta.tensors.items() if key != name}
    variants = [
        {**rest, name: one_ulp},
        rest,
        {**rest, "other": tensor},
        {**rest, name: tensor.half()},
    ]
    ids = {MotionDelta(delta.header, tensors).sha256 for tensors in variants}
    assert len(ids | {delta.sha256}) == 5


def test_the_content_id_is_the_same_everywhere(backbone):
    """A constant from another machine and time; if it changes, published deltas lose their ids."""
    fixed = header(backbone, base_fingerprint="0" * 64)
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.bfloat16)}
    assert MotionDelta(fixed, tensors).sha256 == (
        "c726646c94062155968cd8252c6e4dc120a32a286a9c152445d81c936c0f8237"
    )


# --- what cannot be a delta -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds no tensors"),
        ({"a": torch.ones(2, dtype=torch.float64)}, "tensor a is float64; use float16"),
        ({"a": torch.ones(2, dtype=torch.int64)}, "tensor a is int64"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(backbone, tensors, message):
    with pytest.raises(DeltaError, match=message):
        MotionDelta(header(backbone), tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_neither_saved_nor_loaded(backbone, delta, tmp_path, value):
    name = sorted(delta.tensors)[3]
    delta.tensors[name].flatten()[-1] = value
    with pytest.raises(DeltaError, match=f"tensor {name} holds NaN or infinite"):
        delta.save(tmp_path / "delta")
    assert list(tmp_path.iterdir()) == []
    forge(tmp_path / "delta", backbone, delta.tensors)
    with pytest.raises(DeltaError, match=f"safetensors: tensor {name} holds NaN or infinite"):
        MotionDelta.load(tmp_path / "delta")


def test_a_header_that_is_no_json_is_refused(backbone, tmp_path):
    bad = MotionDelta(header(backbone, metrics={"loss": float("nan")}), changed(backbone))
    with pytest.raises(DeltaError, match="header cannot be written as JSON"):
        bad.save(tmp_path / "delta")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(saved, delta):
    with pytest.raises(DeltaError, match="already exists"):
        delta.save(saved)
    MotionDelta.load(saved)


def test_a_full_disk_leaves_nothing(backbone):
    with small_disk(megabytes=1) as disk:
        big = MotionDelta(header(backbone), {"a": torch.zeros(500_000)})
        with pytest.raises(DeltaError, match="disk is full; free at least 1 MB"):
            big.save(disk / "delta")
        assert list(disk.iterdir()) == []


# --- damage on disk -------------------------------------------------------------------------------


def forge(
    folder: Path,
    backbone: UNet3DBackbone,
    tensors: dict[str, Tensor],
    *,
    declared: dict[str, Tensor] | None = None,
    header_text: Callable[[dict], object] = lambda content: content,
    extra: str = "",
    without: str = "",
) -> None:
    """Write a folder with an intact manifest around what :meth:`MotionDelta.save` refuses."""
    layout = {
        name: {"dtype": {"float32": "F32"}[str(t.dtype)[6:]], "shape": list(t.shape)}
        for name, t in (declared or tensors).items()
    }
    content = {"header": header(backbone).model_dump(mode="json"), "tensors": layout}
    with atomic_directory(folder) as temporary:
        (temporary / "header.json").write_text(canonical_json(header_text(content)))
        safetensors.torch.save_file(tensors, temporary / "tensors.safetensors")
        if extra:
            (temporary / extra).write_text("")
        if without:
            (temporary / without).unlink()


def test_a_forged_folder_without_a_flaw_loads(backbone, delta, tmp_path):
    forge(tmp_path / "delta", backbone, dict(delta.tensors))
    assert MotionDelta.load(tmp_path / "delta").sha256 == delta.sha256


def test_a_lost_and_an_additional_tensor_are_named(backbone, delta, tmp_path):
    tensors = dict(delta.tensors)
    lost = sorted(tensors)[5]
    fewer = {name: tensor for name, tensor in tensors.items() if name != lost}
    forge(tmp_path / "fewer", backbone, fewer, declared=tensors)
    with pytest.raises(DeltaError, match=f"tensor {lost} is missing"):
        MotionDelta.load(tmp_path / "fewer")
    forge(tmp_path / "more", backbone, tensors, declared=fewer)
    with pytest.raises(DeltaError, match=f"tensor {lost} is extra"):
        MotionDelta.load(tmp_path / "more")
    forge(tmp_path / "other", backbone, {**tensors, lost: torch.ones(3)}, declared=tensors)
    with pytest.raises(DeltaError, match=rf"tensor {lost} is .*\[3\].*, the header declares"):
        MotionDelta.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ({"extra": "run.py"}, r"run\.py: a delta holds only header\.json"),
        ({"without": "header.json"}, r"header\.json: is missing"),
        ({"without": "tensors.safetensors"}, r"tensors\.safetensors: is missing"),
        ({"header_text": lambda c: []}, "is not a delta header"),
        ({"header_text": lambda c: {**c, "tensors": []}}, "does not say which tensors"),
        ({"header_text": lambda c: {**c, "header": {**c["header"], "step": -1}}}, "step: Input"),
        ({"header_text": lambda c: {**c, "header": {**c["header"], "evil": 1}}}, "evil: Extra"),
        (
            {
                "header_text": lambda c: {
                    **c,
                    "header": {**c["header"], "format": "motion_ray.delta/2"},
                }
            },
            "format: Input should be 'motion_ray.delta/1'",
        ),
    ],
)
def test_a_flaw_behind_an_intact_manifest_is_named(backbone, delta, tmp_path, flaw, message):
    forge(tmp_path / "delta", backbone, dict(delta.tensors), **flaw)
    with pytest.raises(DeltaError, match=message):
        MotionDelta.load(tmp_path / "delta")


def test_no_such_folder(tmp_path):
    with pytest.raises(DeltaError, match="nothing: there is no such delta folder"):
        MotionDelta.load(tmp_path / "nothing")


def small(backbone: UNet3DBackbone, seed: int) -> MotionDelta:
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"block.{n}.weight": torch.randn(8, 4, generator=generator) for n in range(6)}
    return MotionDelta(header(backbone, name=f"motion-{seed}"), tensors)


@pytest.fixture
def restored(backbone, tmp_path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A small delta on disk, and a function that makes it whole again."""
    small(backbone, 1).save(tmp_path / "delta")
    contents = {name: (tmp_path / "delta" / name).read_bytes() for name in FILES}

    def restore() -> None:
        for name, data in contents.items():
            (tmp_path / "delta" / name).write_bytes(data)

    yield tmp_path / "delta", restore
    restore()
    MotionDelta.load(tmp_path / "delta")


def is_refused(folder: Path) -> bool:
    try:
        MotionDelta.load(folder)
    except DeltaError:
        return True
    return False


@pytest.mark.parametrize("file", FILES)
def test_500_flipped_bits_a_file_are_all_refused(restored, file):
    folder, restore = restored
    chance = random.Random(file)
    data = (folder / file).read_bytes()
    refused = unnoticed = 0
    for bit in (chance.randrange(len(data) * 8) for _ in range(500)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (folder / file).write_bytes(flipped)
        refused += is_refused(folder)
        if file == "tensors.safetensors":
            try:
                safetensors.torch.load_file(folder / file)
                unnoticed += 1
            except safetensors.SafetensorError:
                continue
    assert refused == 500
    # The format itself would have let most of them pass: that is what the manifest is for.
    assert unnoticed > 250 or file != "tensors.safetensors"
    restore()


@pytest.mark.parametrize("file", FILES)
def test_100_truncations_a_file_are_all_refused(restored, file):
    folder, restore = restored
    chance = random.Random(file)
    data = (folder / file).read_bytes()
    refused = 0
    for length in (chance.randrange(len(data)) for _ in range(100)):
        (folder / file).write_bytes(data[:length])
        refused += is_refused(folder)
    assert refused == 100
    restore()


def test_100_files_swapped_between_deltas_are_all_refused(backbone, tmp_path):
    for seed in range(6):
        small(backbone, seed).save(tmp_path / str(seed))
    chance = random.Random(0)
    refused = 0
    for _ in range(100):
        one, other = (tmp_path / str(seed) for seed in chance.sample(range(6), 2))
        files = chance.sample(FILES, chance.choice([1, 2]))  # all three would be the other delta
        shutil.copytree(one, tmp_path / "mixed")
        for file in files:
            shutil.copy(other / file, tmp_path / "mixed" / file)
        refused += is_refused(tmp_path / "mixed")
        shutil.rmtree(tmp_path / "mixed")
    assert refused == 100


def test_the_header_says_what_it_needs(saved):
    content = json.loads((saved / "header.json").read_text())
    assert content["header"]["token"] == "pll"
    assert all(layout["dtype"] == "F32" for layout in content["tensors"].values())
