"""Configs and recipes: golden values, changes, and errors that name field, rule and example."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from motion_ray.backbones.inflated import PREFIX
from motion_ray.config import CustomizationConfig, set_path
from motion_ray.diffusion.density import CoarseNoise, Uniform
from motion_ray.errors import ConfigError
from motion_ray.recipes import RECIPES, load_config
from motion_ray.recipes.paper import ours
from motion_ray.types import ParameterGroup


def test_the_papers_settings():
    """Section 4 and supplement B, one by one."""
    config = ours("zeroscope", "clip")
    assert set(config.groups) == {
        ParameterGroup.TEMPORAL_ATTENTION,
        ParameterGroup.TEMPORAL_CONV,
        ParameterGroup.SPATIAL_CROSS_KV,
    }
    assert config.optimizer.lr == 5e-6 and config.batch_size == 1 and config.max_steps == 3000
    assert config.density.build() == CoarseNoise(0.5)
    assert config.regularization.source == "real" and not config.train_token
    assert config.validation.floor is not None and config.validation.floor.value == 0.265


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_survive_json(name):
    config = RECIPES[name]()
    assert CustomizationConfig.model_validate_json(config.model_dump_json()) == config


def test_configs_are_frozen():
    with pytest.raises(ValidationError):
        ours().optimizer.lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_identity_follows_the_content():
    config = ours("zeroscope", "clip")
    assert config.identity() == ours("zeroscope", "clip").identity()
    assert config.identity() != config.replace({"seed": 1}).identity()


def test_a_change_replaces_one_field():
    config = ours().replace({"optimizer": {"lr": 1e-4}, "density": {"kind": "uniform"}})
    assert config.optimizer.lr == 1e-4 and config.optimizer.grad_clip == 1.0
    assert config.density.build() == Uniform()


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("optimizer.lr=1e-4", {"optimizer": {"lr": 1e-4}}),
        ("groups=[temporal_conv]", {"groups": ["temporal_conv"]}),
        ("engine.name=deepspeed", {"engine": {"name": "deepspeed"}}),
        ("validation.floor=null", {"validation": {"floor": None}}),
        ("name=inf", {"name": "inf"}),
        ("name=1_0", {"name": "1_0"}),
        ("name=2026-11-24", {"name": "2026-11-24"}),
        ("name=null", {"name": None}),
        ("name=[a]", {"name": ["a"]}),
        ("validation.floor.clip_model=007", {"validation": {"floor": {"clip_model": "007"}}}),
        ("max_steps=1_0", {"max_steps": 10}),
        ("sweep.only=1_0", {"sweep": {"only": 10}}),
    ],
)
def test_assignments(assignment, value):
    assert set_path({}, assignment) == value


def test_the_later_of_two_assignments_counts():
    changes = set_path({}, "validation.floor=null")
    assert set_path(changes, "validation.floor.relative=0.8") == {
        "validation": {"floor": {"relative": 0.8}}
    }


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ["optimizer.rate=1"],
            r"optimizer\.rate: there is no such setting; known here: betas, .*lr",
        ),
        (["density.alhpa=1"], r"density\.alhpa: there is no such setting; known here: alpha, kind"),
        (
            ["validation.floor.valeu=1"],
            r"validation\.floor\.valeu: .*known here: clip_model, relat",
        ),
        (["low_rank.rnk=1"], r"low_rank\.rnk: there is no such setting; known here: alpha, rank"),
        (["clips.fps.rate=1"], r"clips\.fps: .*valid number.*for example clips\.fps=8\.0$"),
        (["motion_clips=all"], r"motion_clips: .*got 'all', for example motion_clips=null$"),
        (
            ["validation.floor=0.265"],
            r"floor: is a section .*got 0\.265, settings of it: clip_model, relative, value, "
            r"for example validation\.floor\.value=0\.265$",
        ),
        (["low_rank=4"], r"low_rank: is a section .*got 4, settings of it: alpha, rank$"),
        (["density=uniform"], r"density: is a section .*for example density\.kind=coarse"),
        (["clips=[8]"], r"clips: is a section .*for example clips\.frames=\d+$"),
        (["optimzer.lr=1"], r"optimzer: there is no such setting"),
        (
            ["optimizer.lr=fast"],
            r"optimizer\.lr: .*valid number.*got 'fast', for example optimizer\.lr=5e-06$",
        ),
        (["density.alpha=7"], r"density\.alpha: .*got 7, for example density\.alpha=0\.5$"),
        (["engine.name=tpu"], r"engine\.name: .*got 'tpu', for example engine\.name=deepspeed$"),
        (["validation.seeds=[a]"], r"validation\.seeds\.0: .*for example validation\.seeds=\[0\]$"),
        (["max_steps=0"], r"max_steps: .*greater than or equal to 1.*got 0"),
        (["density.kind=cosine"], r"density: .*uniform"),
        (["groups=[temporal]"], r"groups\.0: .*temporal_attention"),
        (["groups=[]"], r"config: nothing would train"),
        (["groups=[]", "train_token=true", "low_rank.rank=4"], r"low_rank is about parameter gr"),
        (["token_start=person"], r"token_start is where a trained token starts"),
        (["base=inflated:puppet"], r"instead of inflated: set inflate"),
        (["low_rank.rank=0"], r"low_rank\.rank: .*greater than or equal to 1.*got 0"),
        (["validation.phrase=dabbing"], r"validation: phrase holds <token>"),
        (["augmentation.area=[2,1]"], r"augmentation: area is a range"),
        (["validation.floor.relative=0.9"], r"validation\.floor: give exactly one of value"),
        (["optimizer.betas=[1.5,0.9]"], r"optimizer\.betas\.0: .*less than 1"),
        (["regularization.synthetic_prompts=[]"], r"synthetic_prompts: .*at least 1 item"),
        (["seed=-1"], r"seed: .*greater than or equal to 0"),
        (["engine.name=torch", "engine.zero_stage=1"], r"engine: .*need name=deepspeed"),
        (["engine.name=torch-bf16", "engine.zero_stage=1"], r"engine: .*need name=deepspeed"),
        (["engine.name=torch-bf16", "engine.precision=fp32"], r"leave precision at auto"),
        (["engine.name=torch-bf16", "train_token=true"], r"whole values only: take name=torch"),
        (["engine.name=torch-bf16", "low_rank.rank=4"], r"whole values only: take name=torch"),
        (
            ["engine.name=deepspeed", "engine.offload_optimizer=true"],
            r"engine: offload_optimizer needs zero_stage 1 or 2",
        ),
        (["optimizer.grad_clip=.inf"], r"grad_clip: .*finite number.*grad_clip=1\.0$"),
        (["validation.floor={value: .nan}"], r"validation\.floor\.value: .*finite number"),
        (["max_steps=2024-02-30"], r"--set max_steps: cannot read the value '2024-02-30'"),
        (["groups=" + "[" * 5000], r"--set groups: cannot read the value"),
        (["max_steps"], r"an assignment is path=value.*optimizer\.lr=1e-4"),
        (["optimizer=5"], r"optimizer: .*"),
    ],
)
def test_wrong_settings_name_field_rule_and_example(sets, message):
    with pytest.raises(ConfigError, match=message):
        load_config("paper", base="zeroscope", motion="clips", sets=sets)


def test_a_text_that_is_no_date_is_a_text():
    config = load_config("puppet", motion="clips", sets=["name=2024-02-30"])
    assert config.name == "2024-02-30"


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"is not known; one of .*puppet, puppet-all, .*or a \.yaml"
    ):
        load_config("papr", motion="clips")


def test_paper_needs_a_base_and_every_recipe_a_motion():
    with pytest.raises(ConfigError, match="needs a base model"):
        load_config("paper", motion="clips")
    with pytest.raises(ConfigError, match="motion: needs a folder"):
        load_config("puppet")


def test_recipe_files(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: puppet\nmax_steps: 77\n")
    assert load_config(str(file), motion="m").max_steps == 77
    file.write_text("recipe: [puppet\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(str(file), motion="m")
    file.write_text("recipe: [puppet]\n")
    with pytest.raises(ConfigError, match=r"recipe: .*valid string"):
        load_config(str(file), motion="m")
    for text in ("recipe: 2024-02-30\n", "groups: " + "[" * 5000):
        file.write_text(text)
        with pytest.raises(ConfigError, match="not valid YAML"):
            load_config(str(file), motion="m")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(str(file), motion="m")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(str(tmp_path / "none.yaml"), motion="m")


def test_an_inflated_base_is_asked_for_as_loaders_know_it():
    config = ours("zeroscope", "clip")
    assert config.model == "zeroscope"
    assert config.replace({"inflate": True}).model == f"{PREFIX}zeroscope"


def test_errors_cross_process_borders():
    import pickle

    error = ConfigError("optimizer.lr", "must be positive", "for example 5e-6")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ConfigError and str(copy) == str(error) and copy.fix == "for example 5e-6"
