"""The image part of a base, inflated: what it attends to, what trains, what it is bound to."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers.models.attention_processor import Attention

from motion_ray.backbones.bypass import without_temporal_layers
from motion_ray.backbones.inflated import PREFIX, FrameAttention, FrameCount, SparseCausalAttention
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.types import ParameterGroup


@pytest.fixture
def inflated(tiny_bases) -> UNet3DBackbone:
    return load_backbone(f"{PREFIX}{tiny_bases['epsilon']}", "cpu")


def predict(backbone: UNet3DBackbone, latents: torch.Tensor) -> torch.Tensor:
    text = torch.linspace(-1, 1, 16).expand(len(latents), 3, 16)
    with torch.no_grad():
        return backbone.predict(latents, torch.full((len(latents),), 500), text)


def test_one_frame_is_what_the_image_part_makes_of_it(inflated, tiny_bases):
    """Of a clip of one frame, first and former frame are the frame: attention as it was."""
    latents = torch.randn(2, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    base = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    with without_temporal_layers(base.denoiser):
        expected = predict(base, latents)
    torch.testing.assert_close(predict(inflated, latents), expected, rtol=1e-4, atol=1e-5)


def test_a_frame_sees_itself_the_former_and_the_first(inflated):
    """The new attention over time starts at zero, so only sparse causal attention connects."""
    latents = torch.randn(1, 4, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    before = predict(inflated, latents)

    def changed_by(frame: int) -> list[int]:
        other = latents.clone()
        other[:, :, frame] += 1
        difference = (predict(inflated, other) - before).abs().amax((0, 1, 3, 4))
        return [index for index, value in enumerate(difference.tolist()) if value > 1e-6]

    assert changed_by(4) == [4]
    assert changed_by(2) == [2, 3, 4]  # over several layers, one frame at a time
    assert changed_by(0) == [0, 1, 2, 3, 4]


def test_sparse_causal_attention_by_hand():
    """One head, identity projections: a softmax over the places of the first and former frame."""
    attention = Attention(2, heads=1, dim_head=2)
    with torch.no_grad():
        for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]):
            layer.weight.copy_(torch.eye(2))
        attention.to_out[0].bias.zero_()
    count = FrameCount()
    count.frames = 3
    states = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(1))  # 2 clips of 3 frames
    found = SparseCausalAttention(count)(attention, states)
    for index in range(6):
        first, former = states[3 * (index // 3)], states[max(3 * (index // 3), index - 1)]
        context = torch.cat([first, former])
        weights = torch.softmax(states[index] @ context.T / 2**0.5, dim=-1)
        torch.testing.assert_close(found[index], weights @ context)


def test_attention_over_time_starts_as_nothing_and_connects_frames_of_one_place():
    count = FrameCount()
    count.frames = 3
    spatial = Attention(8, heads=2, dim_head=4)
    layer = FrameAttention(spatial, count, torch.Generator().manual_seed(0))
    states = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(states), states)
    torch.nn.init.eye_(layer.attention.to_out[0].weight)
    before = layer(states)
    other = states.clone()
    other[1, 2, 0] += 1  # frame 1 of clip 0, place 2; not all of it, which the norm would undo
    touched = (layer(other) - before).abs().amax(-1) > 1e-6
    assert touched.nonzero().tolist() == [[0, 2], [1, 2], [2, 2]]


def test_groups_and_counts(inflated):
    groups = {n: inflated.group_of(n) for n, _ in inflated.denoiser.named_parameters()}
    new = {n for n, group in groups.items() if group is ParameterGroup.TEMPORAL_ATTENTION}
    assert new and all(".attn_temp.attention." in n for n in new)
    assert not any(".temp_" in n or "transformer_in" in n for n in groups)
    assert ParameterGroup.TEMPORAL_CONV not in groups.values()


def test_the_same_base_gives_the_same_model_with_a_fingerprint_of_its_own(inflated, tiny_bases):
    again = load_backbone(f"{PREFIX}{tiny_bases['epsilon']}", "cpu")
    plain = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    weights = inflated.denoiser.state_dict()
    assert all(torch.equal(weights[n], w) for n, w in again.denoiser.state_dict().items())
    assert inflated.fingerprint == again.fingerprint != plain.fingerprint
    assert inflated.vae_fingerprint == plain.vae_fingerprint


def test_a_copy_counts_its_own_frames(inflated):
    """Processes that train many motions copy a base that they keep."""
    latents = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = predict(inflated, latents)
    other = copy.deepcopy(inflated)
    predict(inflated, latents[:, :, :1])
    torch.testing.assert_close(predict(other, latents), expected)
