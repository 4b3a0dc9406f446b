"""Exchange of values without moving parameters."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization import places
from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.places import keep_in_place, own_values, places_of
from tests.deltas import changed, header


@pytest.fixture
def backbone(tiny_bases) -> UNet3DBackbone:
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    keep_in_place(backbone.denoiser)
    return backbone


def values(backbone: UNet3DBackbone) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in backbone.denoiser.named_parameters()}


def addresses(backbone: UNet3DBackbone) -> list[int]:
    return [each.data_ptr() for each in backbone.denoiser.parameters()]


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left | right)


def deltas(backbone: UNet3DBackbone) -> tuple[MotionDelta, MotionDelta]:
    half = dict([*changed(backbone, 2).items()][::2])
    return MotionDelta(header(backbone), changed(backbone, 1)), MotionDelta(header(backbone), half)


def test_values_change_and_addresses_do_not(backbone):
    before = values(backbone)
    everything, half = deltas(backbone)
    seen = set[tuple[int, ...]]()
    for delta in (everything, half, everything, half):
        with delta.applied(backbone):
            # what the other motion left in the places is gone
            assert same(values(backbone), before | delta.tensors)
            seen.add(tuple(addresses(backbone)))
        assert same(values(backbone), before)
        seen.add(tuple(addresses(backbone)))
    assert len(seen) == 1


def test_the_base_comes_back_after_an_exception(backbone):
    before = values(backbone)
    with pytest.raises(KeyboardInterrupt), deltas(backbone)[0].applied(backbone):
        raise KeyboardInterrupt
    assert same(values(backbone), before)


def test_what_was_trained_meanwhile_is_the_base(backbone):
    delta, _ = deltas(backbone)
    with delta.applied(backbone):
        pass
    with torch.no_grad():
        for parameter in backbone.denoiser.parameters():
            parameter.mul_(1.5)
    trained = values(backbone)
    with delta.applied(backbone):
        assert same(values(backbone), trained | delta.tensors)
    assert same(values(backbone), trained)


def test_a_cast_between_two_exchanges(backbone):
    delta, _ = deltas(backbone)
    with delta.applied(backbone):
        pass
    backbone.denoiser.double()
    before = values(backbone)
    with delta.applied(backbone):
        assert same(values(backbone), before | {n: t.double() for n, t in delta.tensors.items()})
    after = values(backbone)
    assert same(after, before) and {each.dtype for each in after.values()} == {torch.float64}


def test_own_values_are_the_bases_during_an_exchange(backbone):
    delta, half = deltas(backbone)
    before = values(backbone)
    early = own_values(backbone.denoiser)
    with half.applied(backbone):
        assert same(early, before)
    late = own_values(backbone.denoiser)
    with delta.applied(backbone):
        assert same(early, before) and same(late, before)
        assert not same(values(backbone), before)


def test_a_copy_has_places_of_its_own(backbone):
    delta, _ = deltas(backbone)
    with delta.applied(backbone):
        pass
    other = copy.copy(backbone)
    other.denoiser = copy.deepcopy(backbone.denoiser)
    assert places_of(other.denoiser) is not None
    before = values(other)
    with delta.applied(backbone):
        assert same(values(other), before)
    with delta.applied(other):
        assert same(values(backbone), before) and not same(values(other), before)
    assert same(values(other), before)


def test_gradients_are_as_the_caller_has_them(backbone):
    with deltas(backbone)[0].applied(backbone):
        assert torch.is_grad_enabled()
    with torch.no_grad(), deltas(backbone)[0].applied(backbone):
        assert not torch.is_grad_enabled()


def test_without_memory_for_all_places_everything_stays_as_it_was(backbone, monkeypatch):
    everything, half = deltas(backbone)
    with half.applied(backbone):
        pass
    before, where = values(backbone), addresses(backbone)
    made = itertools.count()
    copies = places._copies

    def full(
        tensors: dict[str, torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        if next(made) % 2:
            raise torch.OutOfMemoryError("no memory for the second set")
        return copies(tensors)

    monkeypatch.setattr(places, "_copies", full)
    with pytest.raises(torch.OutOfMemoryError), everything.applied(backbone):
        raise AssertionError("the body must not run")
    monkeypatch.undo()
    assert same(values(backbone), before) and addresses(backbone) == where
    assert same(own_values(backbone.denoiser), before)
    for delta in (half, everything):
        with delta.applied(backbone):
            assert same(values(backbone), before | delta.tensors)
        assert same(values(backbone), before)
