"""Low-rank deltas: merged as peft merges them, whole in the store, refused when they do not fit."""

from __future__ import annotations

import peft
import pytest
import torch

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.delta import TOKEN_EMBEDDING, MotionDelta
from motion_ray.customization.low_rank import from_peft
from motion_ray.errors import DeltaError
from motion_ray.store import DeltaStore
from tests.deltas import header, low_rank


@pytest.fixture(scope="module")
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture
def delta(backbone) -> MotionDelta:
    return MotionDelta(header(backbone, parametrization="lora"), low_rank(backbone))


def weights(backbone: UNet3DBackbone) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in backbone.denoiser.named_parameters()}


@pytest.mark.parametrize("stabilized", [False, True])
def test_the_values_are_those_of_peft(tiny_bases, stabilized):
    """Linear layers and temporal convolutions, against peft's own merge."""
    ours = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    theirs = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    config = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["to_k", "to_v", "conv_in"], use_rslora=stabilized
    )
    wrapped = peft.get_peft_model(theirs.denoiser, config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:  # peft starts one side at zero
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    state = peft.get_peft_model_state_dict(wrapped)
    delta = MotionDelta(
        header(ours, parametrization="lora"),
        from_peft(state, alpha=5, rank_stabilized=stabilized),
    )
    expected = dict(wrapped.merge_and_unload().named_parameters())
    assert "conv_in.weight" in delta.parameters and len(delta.parameters) > 10
    with delta.applied(ours):
        for name, parameter in ours.denoiser.named_parameters():
            assert torch.allclose(parameter, expected[name], atol=1e-6), name


def test_the_base_comes_back_bit_for_bit(backbone, delta):
    before = weights(backbone)
    with delta.applied(backbone):
        inside = weights(backbone)
        changed = {name for name in before if not torch.equal(before[name], inside[name])}
        assert changed == set(delta.parameters)
    assert all(torch.equal(before[name], each) for name, each in weights(backbone).items())


def test_the_store_keeps_the_factors(backbone, delta, tmp_path):
    store = DeltaStore(tmp_path)
    store.publish(delta, "wave")
    found = store.load("wave")
    assert found.header.parametrization == "lora"
    assert found.tensors.keys() == delta.tensors.keys()
    base = weights(backbone)
    whole = sum(base[name].nbytes for name in delta.parameters)
    assert store.resolve("wave").nbytes == found.nbytes < whole
    wanted, got = delta.values(base), found.values(base)
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_full_and_low_rank_deltas_have_different_ids(backbone, delta):
    assert MotionDelta(header(backbone), delta.tensors).sha256 != delta.sha256


def test_a_trained_token_goes_along(backbone, delta):
    row = torch.linspace(-1, 1, 16)
    both = MotionDelta(delta.header, {**delta.tensors, TOKEN_EMBEDDING: row})
    assert both.parameters == delta.parameters
    table = backbone.text_encoder.get_input_embeddings().weight
    with both.applied(backbone):
        assert torch.equal(table[backbone.single_piece("pll")], row)
    assert not torch.equal(table[backbone.single_piece("pll")], row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_in.weight.lora_a": None}, r"conv_in\.weight\.lora_a is missing"),
        ({"conv_in.bias": torch.ones(16)}, r"conv_in\.bias is not a factor"),
        ({"conv_in.weight.lora_a": torch.ones(2, 35)}, r"shapes \[16, 2\] and \[2, 35\]"),
        ({"conv_in.weight.lora_a": torch.ones(3, 36)}, r"shapes \[16, 2\] and \[3, 36\]"),
        (
            {"no.weight.lora_a": torch.ones(2, 4), "no.weight.lora_b": torch.ones(4, 2)},
            r"no\.weight is extra",
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(backbone, change, message):
    tensors = {**low_rank(backbone), **change}
    bad = MotionDelta(
        header(backbone, parametrization="lora"),
        {name: each for name, each in tensors.items() if each is not None},
    )
    before = weights(backbone)
    with pytest.raises(DeltaError, match=message), bad.applied(backbone):
        raise AssertionError("the body must not run")
    assert all(torch.equal(before[name], each) for name, each in weights(backbone).items())


def test_a_merge_beyond_the_types_range_is_refused(tiny_bases):
    half = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    half.denoiser.half()
    tensors = {name: each * 1e4 for name, each in low_rank(half).items()}
    huge = MotionDelta(header(half, parametrization="lora"), tensors)
    with pytest.raises(DeltaError, match="does not fit into float16"), huge.applied(half):
        raise AssertionError("the body must not run")


def test_a_merge_beyond_what_float32_holds_is_refused(backbone):
    """Each factor is finite, their product is not."""
    tensors = {name: each * 1e30 for name, each in low_rank(backbone).items()}
    huge = MotionDelta(header(backbone, parametrization="lora"), tensors)
    with pytest.raises(DeltaError, match="does not fit into float32"), huge.applied(backbone):
        raise AssertionError("the body must not run")


def test_more_than_factors_is_refused():
    with pytest.raises(DeltaError, match=r"conv_in\.bias is not a factor .*; train with bias"):
        from_peft({"base_model.model.conv_in.bias": torch.ones(1)}, alpha=1)
