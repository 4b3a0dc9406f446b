"""sweep.yaml: what is read, and what a wrong line is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from motion_ray.errors import ConfigError
from motion_ray.sweeps.distributions import (
    ChoiceValue,
    IntegerValue,
    LogUniformValue,
    UniformValue,
    draw,
)
from motion_ray.sweeps.spec import EXAMPLES, SweepSpec, load_spec, parse_spec

MOTIONS = {"motions": ["clips/arms"]}


def test_a_file_is_read_and_the_command_lines_motions_win(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("motions: [a]\nset: {max_steps: 300}\ngrid: {optimizer.lr: [1e-3, 3.0e-4]}\n")
    assert load_spec(file).motions == ("a",)
    spec = load_spec(file, ["b", "c"])
    assert spec.motions == ("b", "c")
    assert spec.fixed == {"max_steps": 300}
    assert spec.grid == {"optimizer.lr": ("1e-3", 3.0e-4)}  # YAML's text; the config makes it 0.001


def test_every_example_in_the_messages_is_valid() -> None:
    for line in EXAMPLES.values():
        parse_spec(MOTIONS | yaml.safe_load(line))
    assert set(EXAMPLES) == {field.alias or name for name, field in SweepSpec.model_fields.items()}


@pytest.mark.parametrize(
    ("values", "where", "rule"),
    [
        ({}, "sweep: motions", "at least one motion folder"),
        ({"gird": {}}, "sweep: gird", "there is no such key"),
        ({"seeds": []}, "sweep: seeds", "at least 1 item"),
        ({"grid": {"optimizer.lr": []}}, "sweep: grid", "optimizer.lr has no values"),
        ({"grid": {"seed": [1]}}, "sweep", "grid: seed has its own key, seeds"),
        ({"set": {"motion": "x"}}, "sweep", "set: motion has its own key, motions"),
        (
            {"set": {"optimizer": {"lr": 1}}, "grid": {"optimizer.lr": [1]}},
            "sweep",
            "optimizer in set and optimizer.lr in grid exclude each other",
        ),
        (
            {"set": {"validation.floor.relative": 0.8}, "appearance": {"relative": 0.9}},
            "sweep",
            "exclude each other",
        ),
        ({"searcher": "tpe"}, "sweep: searcher", "is one of listed, bayesopt"),
        ({"searcher": "nevergrad"}, "sweep: searcher", "takes no seed through Ray Tune"),
        (
            {
                "searcher": "bayesopt",
                "random": {
                    "samples": 2,
                    "settings": {"batch_size": {"kind": "choice", "values": [1, 2]}},
                },
            },
            "sweep",
            "bayesopt knows only ranges, and batch_size is a choice",
        ),
        ({"stall_timeout_s": 0}, "sweep: stall_timeout_s", "greater than 0"),
        ({"searcher": "optuna"}, "sweep", "needs random settings"),
        ({"resources": {"gpu": float("inf")}}, "sweep: resources.gpu", "finite number"),
        ({"policy": {"confidence": float("nan")}}, "sweep: policy.confidence", "finite number"),
        (
            {
                "random": {
                    "samples": 2,
                    "settings": {"a": {"kind": "choice", "values": [1.0, float("inf")]}},
                }
            },
            "sweep: random.settings.a.choice.values",
            "numbers are finite",
        ),
        ({"seeds": [0, 0]}, "sweep: seeds", "lists every seed once"),
        ({"resources": {"gpu": 1.5}}, "sweep: resources.gpu", "a part of one GPU or a whole"),
        ({"policy": {"grase": 1}}, "sweep: policy.grase", "there is no such key"),
        (
            {"random": {"samples": 2, "settings": {"a": {"kind": "normal"}}}},
            "sweep: random.settings.a",
            "uniform",
        ),
        (
            {"random": {"samples": 2, "settings": {"a": {"kind": "uniform", "low": 2, "high": 1}}}},
            "sweep: random.settings.a.uniform",
            "low below high",
        ),
        (
            {
                "random": {
                    "samples": 2,
                    "settings": {"a": {"kind": "loguniform", "low": 0, "high": 1}},
                }
            },
            "sweep: random.settings.a.loguniform",
            "low above 0",
        ),
    ],
)
def test_an_error_names_field_rule_and_a_good_example(
    values: dict[str, Any], where: str, rule: str
) -> None:
    motions = MOTIONS if values else {}
    with pytest.raises(ConfigError) as raised:
        parse_spec(motions | values)
    assert raised.value.where == where
    assert rule in raised.value.rule
    assert "for example" in raised.value.fix or "known here" in raised.value.fix


def test_a_missing_and_a_broken_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_spec(tmp_path / "none.yaml")
    file = tmp_path / "sweep.yaml"
    for text, rule in [
        ("a: [", "not valid YAML"),
        ("- a", "is no mapping of settings"),
        ("recipe: 2024-02-30", "not valid YAML"),
        (f"motions: {'[' * 5000}", "not valid YAML"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigError, match=rule):
            load_spec(file)


def test_a_trial_may_take_for_ever_where_that_is_asked_for() -> None:
    assert parse_spec(MOTIONS | {"stall_timeout_s": float("inf")}).stall_timeout_s == float("inf")


def test_a_draw_depends_on_seed_setting_and_sample_alone() -> None:
    values = UniformValue(low=0, high=1)
    recorded = 0.2828213170986722
    assert draw(values, 0, "optimizer.lr", 0) == pytest.approx(recorded, abs=0)
    others = {
        draw(values, 1, "optimizer.lr", 0),
        draw(values, 0, "optimizer.weight_decay", 0),
        draw(values, 0, "optimizer.lr", 1),
    }
    assert len(others) == 3 and recorded not in others


def test_draws_follow_their_distribution() -> None:
    uniform = sorted(draw(UniformValue(low=-1, high=3), 0, "a", i) for i in range(2000))
    # Kolmogorov-Smirnov distance; 0.036 is exceeded once in a hundred for 2000 draws.
    assert max(abs((x + 1) / 4 - i / 2000) for i, x in enumerate(uniform)) < 0.036
    rates = [draw(LogUniformValue(low=1e-4, high=1e-2), 0, "a", i) for i in range(2000)]
    assert 0.45 < sum(rate < 1e-3 for rate in rates) / 2000 < 0.55
    assert min(rates) >= 1e-4 and max(rates) < 1e-2
    whole = [draw(IntegerValue(low=1, high=3), 0, "a", i) for i in range(3000)]
    assert set(whole) == {1, 2, 3}
    assert all(900 < whole.count(value) < 1100 for value in (1, 2, 3))
    chosen = [draw(ChoiceValue(values=("x", "y")), 0, "a", i) for i in range(2000)]
    assert 900 < chosen.count("x") < 1100


@pytest.mark.parametrize("page", ["sweeps.md", "operations.md"])
def test_the_examples_of_the_documentation_are_valid(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text()
    examples = [e for e in re.findall(r"```yaml\n(.*?)```", text, re.S) if "recipe:" in e]
    [spec] = [parse_spec({**MOTIONS, **yaml.safe_load(each)}) for each in examples]
    assert spec.concurrency == 8
