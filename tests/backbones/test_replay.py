"""What of recorded steps does not need a GPU; the rest is in tests/gpu/test_replay.py."""

from __future__ import annotations

import copy

import torch

from motion_ray.backbones import replay
from motion_ray.backbones.replay import StepRecorder
from motion_ray.backbones.unet3d import load_backbone


def test_a_copied_base_records_its_own_network(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    assert backbone.recorder is None, "there is nothing to record on a CPU"
    backbone.recorder = StepRecorder(backbone.denoiser)
    other = copy.deepcopy(backbone)
    assert other.recorder is not None and other.recorder is not backbone.recorder
    parameters = tuple(each.data_ptr() for each in other.denoiser.parameters())
    assert other.recorder.addresses()[: len(parameters)] == parameters


def test_addresses_tell_moved_and_added_parameters_and_not_changed_values(tiny_bases):
    backbone = load_backbone(str(tiny_bases["epsilon"]), "cpu")
    recorder = StepRecorder(backbone.denoiser)
    before = recorder.addresses()
    first = next(backbone.denoiser.parameters())
    first.data.mul_(2)
    assert recorder.addresses() == before
    own, first.data = first.data, first.data.clone()
    assert recorder.addresses() != before
    first.data = own
    assert recorder.addresses() == before
    backbone.denoiser.register_parameter("more", torch.nn.Parameter(torch.zeros(3)))
    assert recorder.addresses() != before


def test_only_what_a_second_generation_asks_for_is_worth_a_recording(monkeypatch):
    recorder = StepRecorder(torch.nn.Linear(1, 1))
    assert [recorder.again("a", 0) for _ in range(3)] == [False] * 3  # steps of one generation
    assert recorder.again("a", 1) and not recorder.again("b", 1)
    monkeypatch.setattr(replay, "ASKED", 2)
    assert not recorder.again("c", 2)  # and "a", the longest ago, is forgotten
    assert recorder.again("b", 2) and not recorder.again("a", 2)
