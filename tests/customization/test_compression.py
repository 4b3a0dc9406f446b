"""Compressed deltas: small, close to the motion, whole in the store, exact where it is promised."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.compression import compress, losses
from motion_ray.customization.delta import HEADER_FILE, TOKEN_EMBEDDING, MotionDelta
from motion_ray.customization.quantized import CODES, SCALE
from motion_ray.errors import DeltaError
from motion_ray.files import atomic_directory
from motion_ray.store import DeltaStore
from tests.deltas import changed, header, low_rank


@pytest.fixture(scope="module")
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


def weights(backbone: UNet3DBackbone) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in backbone.denoiser.named_parameters()}


def moved(backbone: UNet3DBackbone, size: float = 0.01, seed: int = 1) -> MotionDelta:
    """A motion near the base, as training gives one."""
    base = weights(backbone)
    return MotionDelta(
        header(backbone),
        {name: base[name] + size * value for name, value in changed(backbone, seed).items()},
    )


@given(st.integers(0, 2**31), st.integers(-12, 6))
@settings(max_examples=15, deadline=None)
def test_every_tensor_is_within_half_a_step_of_the_motion(backbone, seed, power):
    delta = moved(backbone, 10.0**power, seed)
    compressed, base = compress(delta, backbone), weights(backbone)
    assert compressed.parameters == delta.parameters
    coded = [name for name in delta.parameters if name + CODES in compressed.tensors]
    assert len(coded) > 10
    for name in coded:
        wanted, found = delta.change(name, base), compressed.change(name, base)
        step = compressed.tensors[name + SCALE].view(-1, *[1] * (wanted.dim() - 1))
        assert ((found - wanted).abs() <= step * (0.5 + 2**-16)).all(), name
        value = compressed.values(base)[name]
        assert torch.equal(value, base[name] + compressed.change(name, base)), name


def test_small_tensors_and_rows_stay_as_they_are(backbone):
    delta = moved(backbone)
    row = torch.linspace(-1, 1, 16)
    compressed = compress(
        MotionDelta(delta.header, {**delta.tensors, TOKEN_EMBEDDING: row}), backbone
    )
    values = compressed.values(weights(backbone))
    small = [name for name in delta.parameters if delta.tensors[name].dim() == 1]
    assert small and all(torch.equal(values[name], delta.tensors[name]) for name in small)
    assert torch.equal(compressed.rows[0].row, row)


def test_a_value_of_the_base_stays_it_bit_for_bit(backbone):
    delta = MotionDelta(header(backbone), {"conv_in.weight": weights(backbone)["conv_in.weight"]})
    base = weights(backbone)
    found = compress(delta, backbone).values(base)
    assert torch.equal(found["conv_in.weight"], base["conv_in.weight"])


def test_the_base_comes_back_bit_for_bit(backbone):
    compressed, before = compress(moved(backbone), backbone), weights(backbone)
    with compressed.applied(backbone):
        inside = weights(backbone)
        different = {name for name in before if not torch.equal(before[name], inside[name])}
        assert different == set(compressed.parameters)
    assert all(torch.equal(before[name], each) for name, each in weights(backbone).items())


def test_the_store_keeps_the_codes(backbone, tmp_path):
    delta = moved(backbone)
    compressed = compress(delta, backbone)
    store = DeltaStore(tmp_path)
    assert store.publish(delta, "wave") == "wave@1"
    assert store.publish(compressed, "wave") == "wave@2"
    found = store.load("wave@2")
    assert found.header == compressed.header and found.header.parametrization == "int8"
    assert found.tensors.keys() == compressed.tensors.keys()
    assert all(torch.equal(found.tensors[name], compressed.tensors[name]) for name in found.tensors)
    assert found.sha256 == compressed.sha256 != delta.sha256
    assert store.resolve("wave@2").nbytes == found.nbytes < delta.nbytes / 2


def test_what_it_cost_is_told_for_every_parameter(backbone):
    delta = moved(backbone)
    compressed = compress(delta, backbone)
    found = losses(delta, compressed, backbone)
    assert [each.name for each in found] == delta.parameters
    assert sum(each.before for each in found) == delta.nbytes
    assert sum(each.after for each in found) == compressed.nbytes
    for each in found:
        assert (each.error > 0) is (each.name + CODES in compressed.tensors)
        assert each.error < 0.02  # a row's step is 1/127 of its largest change


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["conv_in.weight", "conv_in.bias"])
def test_values_that_are_not_finite_are_refused(backbone, bad, name):
    tensors = {name: weights(backbone)[name]}
    tensors[name].view(-1)[3] = bad
    with pytest.raises(DeltaError, match=name):
        compress(MotionDelta(header(backbone), tensors), backbone)


def test_what_cannot_be_compressed(backbone):
    compressed = compress(moved(backbone), backbone)
    with pytest.raises(DeltaError, match="its form is 'int8'"):
        compress(compressed, backbone)
    thin = MotionDelta(header(backbone, parametrization="lora"), low_rank(backbone))
    with pytest.raises(DeltaError, match="its form is 'lora'"):
        compress(thin, backbone)
    stranger = MotionDelta(header(backbone, base_fingerprint="0" * 64), changed(backbone))
    with pytest.raises(DeltaError, match="made for base"):
        compress(stranger, backbone)


def test_codes_have_no_place_in_other_forms(backbone):
    tensors = compress(moved(backbone), backbone).tensors
    with pytest.raises(DeltaError, match="is int8; use float16 or bfloat16 or float32"):
        MotionDelta(header(backbone), tensors)
    floats = {name: each.float() for name, each in tensors.items()}
    with pytest.raises(DeltaError, match="is float32; use int8"):
        MotionDelta(header(backbone, parametrization="int8"), floats)


def test_a_form_that_a_reader_does_not_know_is_refused_by_name(backbone, tmp_path):
    moved(backbone).save(tmp_path / "delta")
    content = json.loads((tmp_path / "delta" / HEADER_FILE).read_text())
    content["header"]["parametrization"] = "int3"
    with atomic_directory(tmp_path / "later", DeltaError) as folder:
        for each in (tmp_path / "delta").iterdir():
            if each.name == HEADER_FILE:
                (folder / HEADER_FILE).write_text(json.dumps(content))
            elif each.suffix == ".safetensors":
                (folder / each.name).write_bytes(each.read_bytes())
    with pytest.raises(DeltaError, match=r"parametrization: .*'int8', not 'int3'"):
        MotionDelta.load(tmp_path / "later")
