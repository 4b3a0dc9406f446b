"""Baselines and ablations: what each trains at ZeroScope's shape, and what else it sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from diffusers import UNet3DConditionModel
from torch import nn

from motion_ray.backbones.inflated import inflate
from motion_ray.backbones.partition import partition_unet3d
from motion_ray.config import CustomizationConfig
from motion_ray.diffusion.density import CoarseNoise, Uniform
from motion_ray.recipes import RECIPES, load_config
from motion_ray.recipes.ablations import TABLE_2
from motion_ray.recipes.paper import PAPER_GROUPS
from motion_ray.types import SPATIAL, TEMPORAL, ParameterGroup
from tests.backbones.test_partition import zeroscope_unet

#: Width of ZeroScope's spatial transformers to how many there are.
WIDTHS = {320: 2 + 3, 640: 2 + 3, 1280: 2 + 1 + 3}


@pytest.fixture(scope="module")
def zeroscope() -> UNet3DConditionModel:
    return zeroscope_unet()


@pytest.fixture(scope="module")
def inflated() -> UNet3DConditionModel:
    unet = zeroscope_unet()
    inflate(unet)
    return unet


def trained(unet: nn.Module, config: CustomizationConfig) -> dict[str, nn.Parameter]:
    """Names to parameters of the denoiser that a config trains."""
    partition = partition_unet3d(unet)
    return {n: p for n, p in unet.named_parameters() if partition[n] in config.groups}


@pytest.mark.parametrize(
    ("name", "millions", "tensors"),
    [
        ("paper", 570.9, 826),
        ("paper-textual-inversion", 0.0, 0),
        ("paper-dreambooth", 863.9, 682),
        ("paper-custom-diffusion", 25.6, 32),
        ("paper-spatial-none", 545.3, 794),
        ("paper-spatial-all", 1409.2, 1476),
        ("paper-temporal-none", 25.6, 32),
        ("paper-all", 1411.2, 1480),
    ],
)
def test_what_trains_at_zeroscopes_shape(zeroscope, name, millions, tensors):
    chosen = trained(zeroscope, RECIPES[name]())
    assert (round(sum(p.numel() for p in chosen.values()) / 1e6, 1), len(chosen)) == (
        millions,
        tensors,
    )


def test_custom_diffusion_trains_keys_and_values_of_spatial_cross_attention(zeroscope):
    """Named by hand: attn2 of the spatial transformers, which are not called temp_ anything."""
    names = set(trained(zeroscope, RECIPES["paper-custom-diffusion"]()))
    pattern = re.compile(r".*\.attentions\.\d\.transformer_blocks\.\d\.attn2\.to_[kv]\.weight")
    assert names == {n for n, _ in zeroscope.named_parameters() if pattern.fullmatch(n)}


def test_dreambooth_trains_no_temporal_layer_and_no_timestep_embedding(zeroscope):
    names = set(trained(zeroscope, RECIPES["paper-dreambooth"]()))
    left = {n for n, _ in zeroscope.named_parameters()} - names
    assert all("temp_" in n or n.startswith(("transformer_in", "time_embedding")) for n in left)
    assert not any("temp_" in n or n.startswith("transformer_in") for n in names)


def test_tune_a_video_trains_queries_and_attention_over_time(inflated):
    """Its section 4.2: attn1.to_q, attn2.to_q and the new attention, in all 16 blocks."""
    chosen = trained(inflated, RECIPES["paper-tune-a-video"]())
    ends = {re.sub(r".*transformer_blocks\.0\.", "", name) for name in chosen}
    assert ends == {"attn1.to_q.weight", "attn2.to_q.weight"} | {
        f"attn_temp.attention.{part}"
        for part in (
            "to_q.weight",
            "to_k.weight",
            "to_v.weight",
            "to_out.0.weight",
            "to_out.0.bias",
        )
    }
    assert len(chosen) == 16 * 7
    # Two queries, and four matrices with one bias, in every block.
    by_hand = sum(blocks * (6 * width**2 + width) for width, blocks in WIDTHS.items())
    assert sum(p.numel() for p in chosen.values()) == by_hand  # 74.4 M


@pytest.mark.parametrize("scale", ["paper", "puppet"])
def test_settings_of_the_methods(scale):
    """The table of docs/baselines.md."""
    recipe = {name: RECIPES[f"{scale}-{name}"]() for name in ("dreambooth", "custom-diffusion")}
    inversion, tune = (RECIPES[f"{scale}-{n}"]() for n in ("textual-inversion", "tune-a-video"))
    for config in (*recipe.values(), inversion, tune):
        assert config.density.build() == Uniform()
        assert config.validation.floor == RECIPES[scale]().validation.floor
    assert inversion.train_token and inversion.regularization.source == "none"
    assert recipe["dreambooth"].regularization.source == "synthetic"
    assert not recipe["dreambooth"].train_token
    assert recipe["custom-diffusion"].train_token
    assert recipe["custom-diffusion"].regularization.source == "real"
    assert tune.inflate and tune.regularization.source == "none" and not tune.train_token


def test_table_2_changes_one_thing_at_a_time():
    ours = RECIPES["puppet"]()
    expected = {
        "spatial-none": {"groups"},
        "spatial-all": {"groups", "validation"},
        "temporal-none": {"groups"},
        "token-trained": {"train_token"},
        "uniform": {"density"},
        "regularization-none": {"regularization"},
        "regularization-synthetic": {"regularization"},
    }
    for rows in TABLE_2.values():
        assert rows[0].on(ours) == ours
        for variant in rows[1:]:
            config = RECIPES[f"puppet-{variant.name}"]()
            differing = {
                field
                for field in CustomizationConfig.model_fields
                if getattr(config, field) != getattr(ours, field)
            }
            assert differing == expected[variant.name] | {"recipe"}
    assert set(RECIPES["puppet-spatial-all"]().groups) == TEMPORAL | SPATIAL
    assert set(RECIPES["puppet-spatial-none"]().groups) == TEMPORAL
    assert RECIPES["puppet-temporal-none"]().groups == (ParameterGroup.SPATIAL_CROSS_KV,)


def test_beyond_the_paper():
    ours = RECIPES["puppet"]()
    assert RECIPES["puppet-rate-triple"]().optimizer.lr == pytest.approx(3 * ours.optimizer.lr)
    assert RECIPES["puppet-clips-3"]().motion_clips == 3
    low_rank = RECIPES["puppet-rank-16"]().low_rank
    assert low_rank is not None and low_rank.rank == 16
    assert set(RECIPES["puppet-rank-16"]().groups) == set(PAPER_GROUPS)


def test_a_baseline_that_soon_ends_can_learn_more_slowly():
    own = RECIPES["puppet-dreambooth"]()
    for name, part in (("third", 1 / 3), ("tenth", 0.1)):
        slower = RECIPES[f"puppet-dreambooth-rate-{name}"]()
        assert slower.optimizer.lr == pytest.approx(part * own.optimizer.lr)
        same = {"recipe": own.recipe, "optimizer": {"lr": own.optimizer.lr}}
        assert slower.replace(same) == own


def test_a_subject_is_pictures_keys_values_and_a_token():
    config = RECIPES["puppet-subject"]()
    assert config.clips.frames == 1 and config.train_token
    assert config.groups == (ParameterGroup.SPATIAL_CROSS_KV,)


def test_every_choice_can_be_set_over_any_recipe(tmp_path: Path):
    sets = ["density.kind=coarse_noise", "low_rank.rank=2", "motion_clips=1", "inflate=false"]
    config = load_config("puppet-tune-a-video", motion=str(tmp_path), sets=sets)
    assert config.density.build() == CoarseNoise(0.5) and not config.inflate
    assert config.low_rank is not None and config.low_rank.rank == 2


def test_puppet_captions_of_synthetic_clips_are_those_of_the_drawn_ones():
    prompts = RECIPES["puppet-dreambooth"]().regularization.synthetic_prompts
    assert len(set(prompts)) == 36
    assert all("person doing other things" in prompt for prompt in prompts)


def test_names_say_what_they_are():
    for name, recipe in RECIPES.items():
        assert recipe().recipe == name


@pytest.mark.parametrize("scale", ["puppet", "paper"])
def test_what_soon_loses_its_appearance_is_looked_at_before_it_is_gone(scale: str):
    every = RECIPES[scale]().validation.every
    for method in RECIPES:
        if method.startswith(f"{scale}-"):
            config = RECIPES[method]()
            spatial = set(SPATIAL) <= set(config.groups) and not config.inflate
            hasty = spatial or method.endswith("rate-triple")
            assert config.validation.every == (every // 3 if hasty else every), method
