"""Every baseline through the one loop: it changes what it trains and nothing else, and its delta
is bound to its base, loads, applies and comes off again bit for bit."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.customization.delta import TOKEN_EMBEDDING
from motion_ray.customization.engine import STATE
from motion_ray.customization.forecast import forecast
from motion_ray.customization.loop import customize
from motion_ray.customization.run import RunFolder
from motion_ray.errors import ConfigError, DeltaError
from motion_ray.store import DeltaStore
from motion_ray.types import ParameterGroup, RunStarted, StepDone
from tests.methods import METHODS, tiny_method


def snapshot(backbone: UNet3DBackbone) -> dict[str, torch.Tensor]:
    """Everything that a delta could change."""
    parts = {"denoiser": backbone.denoiser, "text": backbone.text_encoder}
    return {
        f"{part}.{name}": value.clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.fixture(params=METHODS)
def method(request, tiny_run):
    return tiny_method(request.param, tiny_run)


def test_a_method_changes_what_it_trains_and_its_delta_comes_off(method, tmp_path):
    *_, finished = customize(method, tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    backbone = load_backbone(method.model, "cpu")
    before = snapshot(backbone)
    with delta.applied(backbone):
        during = snapshot(backbone)
    assert not changed(before, snapshot(backbone))

    found = changed(before, during)
    table = next(name for name in before if name.endswith("token_embedding.weight"))
    expected = {
        f"denoiser.{name}"
        for name, _ in backbone.denoiser.named_parameters()
        if backbone.group_of(name) in method.groups
    }
    if method.low_rank is not None:  # matrices and kernels; biases and norms have one dimension
        expected = {name for name in expected if before[name].dim() > 1}
    if method.train_token:
        expected.add(table)
        rows = (before[table] != during[table]).any(1).nonzero().flatten().tolist()
        assert rows == [backbone.single_piece("pll")]
    assert found == expected


def test_a_method_resumes_with_the_same_bits(method, tmp_path):
    """From one set of synthetic clips: made anew, they are equal to rounding only."""
    for event in customize(method, tmp_path / "run", device="cpu"):
        if isinstance(event, RunStarted):
            break
    shutil.copytree(tmp_path / "run", tmp_path / "straight")
    *_, straight = customize(method, tmp_path / "straight", device="cpu")
    for event in customize(method, tmp_path / "run", device="cpu"):
        if isinstance(event, StepDone) and event.step == 3:
            break
    *_, resumed = customize(method, tmp_path / "run", device="cpu")
    assert resumed.sha256 == straight.sha256
    last = [
        CheckpointFolder(RunFolder(tmp_path / n).checkpoints).at(6) for n in ("straight", "run")
    ]
    first, second = (load_file(each.directory / STATE) for each in last)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_delta_of_an_inflated_base_does_not_fit_the_base(tiny_run, tmp_path):
    config = tiny_method("tune-a-video", tiny_run)
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    with (
        pytest.raises(DeltaError, match=r"made for base .*inflated:"),
        delta.applied(load_backbone(config.base, "cpu")),
    ):
        pass


def test_low_rank_values_are_of_low_rank_and_what_training_saw(tiny_run, tmp_path):
    """The merged values give the very videos that training's factors gave."""
    config = tiny_method("rank-4", tiny_run).replace({"low_rank": {"rank": 2, "alpha": 6.0}})
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    delta = DeltaStore(finished.store).load(finished.delta)
    assert delta.header.parametrization == "lora"
    backbone = load_backbone(config.model, "cpu")
    base = {name: p.data for name, p in backbone.denoiser.named_parameters()}
    ranks = [
        int(torch.linalg.matrix_rank(delta.change(name, base).flatten(1), atol=1e-7))
        for name in delta.parameters
    ]
    assert max(ranks) == 2
    factors = load_file(
        CheckpointFolder(RunFolder(tmp_path / "run").checkpoints).at(6).directory / STATE
    )
    name = next(n for n in delta.parameters if n.endswith("attn2.to_k.weight"))
    stem = f"weight/denoiser.{name.removesuffix('.weight')}"
    a, b = (factors[f"{stem}.lora_{side}.default.weight"] for side in "AB")
    torch.testing.assert_close(delta.change(name, base), 3.0 * b @ a)  # alpha / rank is 3


def test_low_rank_needs_weights(tiny_run, tmp_path):
    config = tiny_run.replace({"groups": ["other"], "low_rank": {"rank": 2}})
    *_, finished = customize(config, tmp_path / "run", device="cpu")  # linear layers: fine
    assert DeltaStore(finished.store).load(finished.delta).parameters
    wrong = tiny_run.replace({"groups": [ParameterGroup.TEMPORAL_CONV], "inflate": True})
    with pytest.raises(ConfigError, match="no parameters in temporal_conv"):
        list(customize(wrong, tmp_path / "wrong", device="cpu"))
    assert not (RunFolder(tmp_path / "wrong").cache / "latents").exists()  # before it takes time


def test_fewer_clips(tiny_run, tmp_path):
    *_, finished = customize(tiny_run.replace({"motion_clips": 2}), tmp_path / "two", device="cpu")
    sources = DeltaStore(finished.store).load(finished.delta).header.sources
    assert sorted(sources) == ["0.mp4", "1.mp4"]
    with pytest.raises(ConfigError, match=r"motion_clips: asks for 4 clips, .* holds 3"):
        list(customize(tiny_run.replace({"motion_clips": 4}), tmp_path / "four", device="cpu"))


def test_a_trained_token_can_start_from_another_word(tiny_run, tmp_path):
    config = tiny_method("textual-inversion", tiny_run)
    config = config.replace({"token_start": "sks", "optimizer": {"lr": 1e-9}, "max_steps": 1})
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    row = DeltaStore(finished.store).load(finished.delta).tensors[TOKEN_EMBEDDING]
    backbone = load_backbone(config.base, "cpu")
    table = backbone.text_encoder.get_input_embeddings().weight
    torch.testing.assert_close(row, table[backbone.single_piece("sks")].detach().float())


def test_a_word_to_start_from_is_one_piece(tiny_run, tmp_path):
    config = tiny_method("textual-inversion", tiny_run).replace({"token_start": "unheardof"})
    with pytest.raises(ConfigError, match=r"token_start: .* splits 'unheardof' into \d+ pieces"):
        list(customize(config, tmp_path / "run", device="cpu"))
    assert not (RunFolder(tmp_path / "run").cache / "latents").exists()


def test_deltas_of_steps_on_the_way_are_published(tiny_run, tmp_path):
    """Each is what a run that ends at that step gives."""
    config = tiny_run.replace({"validation": {"publish": True, "every": 2}})
    *_, finished = customize(config, tmp_path / "run", device="cpu")
    store = DeltaStore(finished.store)
    steps = {name: store.load(name) for name in ("slide-step-2", "slide-step-4", "slide-step-6")}
    assert [delta.header.step for delta in steps.values()] == [2, 4, 6]
    short = config.replace({"max_steps": 4})
    *_, early = customize(short, tmp_path / "short", device="cpu")
    expected = DeltaStore(early.store).load(early.delta).tensors
    found = steps["slide-step-4"].tensors
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_forecast_knows_what_a_method_trains(method, tmp_path):
    started = next(
        event
        for event in customize(method, tmp_path / "run", device="cpu")
        if isinstance(event, RunStarted)
    )
    sketch, mode = sketch_backbone(method.model, torch.float32)
    expected = forecast(method, 3, sketch, mode)
    assert (expected.trainable_parameters, expected.trainable_tensors) == (
        started.trainable_parameters,
        started.trainable_tensors,
    )
