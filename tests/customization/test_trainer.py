"""A training step against the paper's equations 1 to 3 worked out by hand, the course of the
learning rate, and dropout."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch import Tensor, nn

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.engine import TorchEngine
from motion_ray.customization.examples import Examples, read_clip_lists
from motion_ray.customization.trainer import Trainer
from motion_ray.data.latents import LatentCache
from motion_ray.data.mixture import Mixture
from motion_ray.diffusion.density import CoarseNoise, TimestepDensity, Uniform
from motion_ray.types import ExampleSet


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def prepared(
    backbone: UNet3DBackbone, config: CustomizationConfig, cache: Path
) -> tuple[Trainer, Examples]:
    examples = Examples(backbone, config, read_clip_lists(config, cache), cache, lambda *_: None)
    return Trainer(backbone, config, "pll"), examples


def alpha_bar(kind: str) -> Tensor:
    """Of the tiny bases, ``[1000]``."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = torch.cumprod(1 - betas, 0).sqrt()
    if kind == "v_prediction":  # zero terminal SNR: shifted so as to end at 0, begins as before
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return signal**2


def steps_by_hand(
    backbone: UNet3DBackbone,
    config: CustomizationConfig,
    kind: str,
    density: TimestepDensity,
    share: float,
    folder: Path,
) -> Iterator[list[tuple[ExampleSet, float]]]:
    """The losses of a step's examples, by the weights of the moment when they are asked for."""
    clips = read_clip_lists(config, folder)
    sets = {ExampleSet.MOTION: clips.motion, ExampleSet.REGULARIZATION: clips.regularization}
    posteriors = {
        source: LatentCache(folder).posteriors(
            backbone, members, config.clips, config.augmentation, config.seed
        )
        for source, members in sets.items()
    }
    mixture = Mixture(3, 4, 2, share, config.seed)
    generator, abar = torch.Generator().manual_seed(config.seed), alpha_bar(kind)
    for step in itertools.count():
        draws = [mixture.draw(2 * step), mixture.draw(2 * step + 1)]
        latents = []
        for draw in draws:
            q = posteriors[draw.source][draw.clip][draw.variant]
            deviation = q.logvar.exp().sqrt()
            latents.append(q.mean + deviation * torch.randn(q.mean.shape, generator=generator))
        x0 = torch.stack(latents)
        t = density.sample(2, 1000, generator)
        noise = torch.randn(x0.shape, generator=generator)
        signal, spread = (each[t].sqrt().view(-1, 1, 1, 1, 1) for each in (abar, 1 - abar))
        target = noise if kind == "epsilon" else signal * noise - spread * x0
        text = backbone.encode_text([sets[draw.source][draw.clip].caption for draw in draws])
        with torch.no_grad():
            prediction = backbone.predict(signal * x0 + spread * noise, t, text)
        losses = (prediction - target).square().mean((1, 2, 3, 4))
        yield [(draw.source, loss) for draw, loss in zip(draws, losses.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("kind", "density", "by_hand", "share", "train_token"),
    [
        ("v_prediction", {"kind": "coarse_noise"}, CoarseNoise(0.5), 0.5, False),
        ("v_prediction", {"kind": "uniform"}, Uniform(), 0.25, True),
        ("epsilon", {"kind": "coarse_noise", "alpha": 1.0}, CoarseNoise(1.0), 0.25, False),
    ],
)
def test_a_step_is_that_of_the_paper(
    tiny_run, tiny_bases, tmp_path, cache, kind, density, by_hand, share, train_token
):
    motion = shutil.copytree(tiny_run.motion, tmp_path / "motion")
    for number, colour in enumerate(("red", "green", "blue")):  # each clip has its own caption
        (motion / f"{number}.txt").write_text(f"a {colour} person doing the pll")
    config = tiny_run.replace(
        {
            "base": str(tiny_bases[kind]),
            "motion": str(motion),
            "density": density,
            "regularization": {"share": share},
            "train_token": train_token,
            "seed": 3,
        }
    )
    backbone = load_backbone(config.base, "cpu")
    trainer, examples = prepared(backbone, config, cache)
    steps = steps_by_hand(backbone, config, kind, by_hand, share, tmp_path / "by-hand")
    seen = set()
    for expected in itertools.islice(steps, 4):
        done = trainer.take_step(examples)
        assert done.loss == pytest.approx(mean(loss for _, loss in expected), rel=1e-5)
        for source in {source for source, _ in expected}:
            of_set = mean(loss for s, loss in expected if s is source)
            assert done.losses[source] == pytest.approx(of_set, rel=1e-5)
        assert done.losses.keys() == {source for source, _ in expected}
        seen |= done.losses.keys()
    assert seen == set(ExampleSet)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
        # half of 1 + the cosine of 0, 30, 60, 90, 120, 150 degrees; the first of them halved again
        (
            {"warmup_steps": 2, "decay": "cosine"},
            [0.5, 0.9330127, 0.75, 0.5, 0.25, 0.0669873],
        ),
    ],
)
def test_the_learning_rate_takes_its_course(tiny_run, cache, monkeypatch, settings, expected):
    given = []
    update = TorchEngine.update

    def noted(self, loss, learning_rate):
        given.append(learning_rate)
        return update(self, loss, learning_rate)

    monkeypatch.setattr(TorchEngine, "update", noted)
    config = tiny_run.replace({"max_steps": 6, "optimizer": {"lr": 1e-3, **settings}})
    trainer, examples = prepared(load_backbone(config.base, "cpu"), config, cache)
    told = [trainer.take_step(examples).learning_rate for _ in range(6)]
    assert told == pytest.approx([1e-3 * each for each in expected]) and given == told


def test_dropout_is_there_where_it_is_asked_for_and_follows_the_seed(tiny_run, cache):
    def losses(dropout: bool) -> list[float]:
        config = tiny_run.replace({"engine": {"dropout": dropout}})
        backbone = load_backbone(config.base, "cpu")
        layers = [m for m in backbone.denoiser.modules() if isinstance(m, nn.Dropout)]
        assert layers
        for layer in layers:
            layer.p = 0.5
        trainer, examples = prepared(backbone, config, cache)
        torch.rand(3)  # somebody else's draws do not matter, and theirs are left alone
        before = torch.get_rng_state()
        found = [trainer.take_step(examples).loss for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), before) and not backbone.denoiser.training
        return found

    first, again, without = losses(True), losses(True), losses(False)
    assert first == again
    assert first[0] != pytest.approx(without[0], rel=1e-3)
