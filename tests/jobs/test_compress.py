"""Compressing a motion of a store, as a user does it."""

from __future__ import annotations

import pytest

from jobs.compress import main
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.compression import losses
from motion_ray.customization.delta import MotionDelta
from motion_ray.store import DeltaStore
from tests.deltas import changed, header, low_rank


@pytest.fixture
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def store(tmp_path, backbone) -> DeltaStore:
    store = DeltaStore(tmp_path / "store")
    store.publish(MotionDelta(header(backbone), changed(backbone)), "wave")
    thin = MotionDelta(header(backbone, parametrization="lora"), low_rank(backbone))
    store.publish(thin, "thin")
    return store


def test_a_new_version_and_what_it_cost(store, backbone, tiny_bases, capsys):
    base = ["--base", str(tiny_bases["epsilon"]), "--store", store.uri]
    assert main([*base, "--motion", "wave"]) == 0
    whole, compressed = store.load("wave@1"), store.load("wave")
    assert (compressed.header.parametrization, store.resolve("wave").version) == ("int8", 2)
    said = capsys.readouterr().out
    worst = max(each.error for each in losses(whole, compressed, backbone))
    assert 0 < worst < 0.02
    for number in (f"{whole.nbytes:,}", f"{compressed.nbytes:,}", f"{worst:.2%}"):
        assert number in said
    assert "temporal_attention" in said and "published as wave@2" in said


def test_a_name_of_its_own(store, tiny_bases):
    base = ["--base", str(tiny_bases["epsilon"]), "--store", store.uri]
    assert main([*base, "--motion", "wave@1", "--name", "small-wave"]) == 0
    assert store.load("small-wave@1").header.parametrization == "int8"
    assert store.resolve("wave").version == 1


@pytest.mark.parametrize(
    ("motion", "message"),
    [("thin", "its form is 'lora'"), ("nothing", "has no motion 'nothing'")],
)
def test_what_cannot_be_compressed_is_one_line(store, tiny_bases, capsys, motion, message):
    base = ["--base", str(tiny_bases["epsilon"]), "--store", store.uri]
    before = store.versions()
    assert main([*base, "--motion", motion]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert store.versions() == before
