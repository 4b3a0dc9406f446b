"""Which trials a sweep has, in which order, and what their identity depends on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError
from motion_ray.sweeps.spec import SweepSpec, parse_spec
from motion_ray.sweeps.trials import Trial, TrialMaker, list_trials


@pytest.fixture
def folder(tmp_path: Path, tiny_run: CustomizationConfig) -> Path:
    """A recipe for a tiny base, two motions, and clips of other motions."""
    root = tmp_path / "here"
    shutil.copytree(tiny_run.motion, root / "slide")
    shutil.copytree(tiny_run.motion, root / "glide")
    (root / "glide" / "motion.yaml").write_text("template: a man doing the <token>\n")
    shutil.copytree(str(tiny_run.regularization.folder), root / "other")
    shutil.copytree(tiny_run.base, root / "base")
    values = tiny_run.model_dump(mode="json") | {"base": str(root / "base")}
    values["regularization"]["folder"] = str(root / "other")
    (root / "recipe.yaml").write_text(yaml.safe_dump(values))
    return root


def sweep(folder: Path, **values: Any) -> SweepSpec:
    motions = [str(folder / "slide"), str(folder / "glide")]
    return parse_spec({"recipe": str(folder / "recipe.yaml"), "motions": motions} | values)


def test_every_motion_gets_its_first_trial_before_any_gets_its_second(folder: Path) -> None:
    spec = sweep(
        folder,
        grid={"optimizer.lr": ["1e-3", 1e-4], "batch_size": [1, 2]},
        seeds=[0, 7],
        set={"max_steps": 9},
    )
    trials = list_trials(spec)
    assert len(trials) == len({trial.identity for trial in trials}) == 2 * 2 * 2 * 2
    assert [trial.motion for trial in trials[:4]] == ["slide", "glide", "slide", "glide"]
    assert [trial.label for trial in trials[:6:2]] == [
        "optimizer.lr=0.001 batch_size=1 seed=0",
        "optimizer.lr=0.001 batch_size=1 seed=7",
        "optimizer.lr=0.001 batch_size=2 seed=0",
    ]
    assert all(trial.config.max_steps == 9 for trial in trials)
    last = trials[-1]
    assert (last.config.optimizer.lr, last.config.batch_size, last.config.seed) == (1e-4, 2, 7)


def test_the_same_sweep_elsewhere_has_the_same_trials(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    recipe = (elsewhere / "recipe.yaml").read_text().replace(str(folder), str(elsewhere))
    (elsewhere / "recipe.yaml").write_text(recipe)
    search = {
        "samples": 2,
        "settings": {"optimizer.lr": {"kind": "loguniform", "low": 1e-5, "high": 1e-2}},
    }
    first = list_trials(sweep(folder, random=search))
    second = list_trials(sweep(elsewhere, random=search))
    assert [trial.identity for trial in first] == [trial.identity for trial in second]
    assert first[0].config.identity() != second[0].config.identity()  # paths are part of that one


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("slide/0.mp4", {"slide"}),
        ("slide/0.txt", {"slide"}),
        ("glide/motion.yaml", {"glide"}),
        ("other/0.mp4", {"slide", "glide"}),
        ("base/unet/diffusion_pytorch_model.safetensors", {"slide", "glide"}),
    ],
)
def test_changed_content_is_another_trial(folder: Path, file: str, changed: set[str]) -> None:
    before = {trial.motion: trial.identity for trial in list_trials(sweep(folder))}
    _change(folder / file)
    after = {trial.motion: trial.identity for trial in list_trials(sweep(folder))}
    assert {motion for motion in before if before[motion] != after[motion]} == changed


def _change(file: Path) -> None:
    """Into something else that is as good."""
    if file.suffix == ".yaml":
        file.write_text("template: a woman doing the <token>\n")
    elif file.suffix == ".safetensors":
        tensors = load_file(file)
        next(iter(tensors.values())).add_(1)
        save_file(tensors, file, {"format": "pt"})
    else:
        with file.open("ab") as stream:
            stream.write(b" pll")


def test_more_samples_come_behind_those_that_are_there(folder: Path) -> None:
    def identities(samples: int) -> list[str]:
        lr = {"kind": "loguniform", "low": 1e-5, "high": 1e-2}
        search = {"samples": samples, "settings": {"optimizer.lr": lr}}
        return [trial.identity for trial in list_trials(sweep(folder, random=search))]

    assert identities(5)[:6] == identities(3)


def test_a_trial_survives_json(folder: Path) -> None:
    [trial, _] = list_trials(sweep(folder))
    assert Trial.from_dict(trial.as_dict()) == trial


def test_defaults_give_way_to_the_sweep(folder: Path) -> None:
    defaults = {"engine.name": "deepspeed"}
    assert list_trials(sweep(folder), defaults=defaults)[0].config.engine.name == "deepspeed"
    spec = sweep(folder, grid={"engine.name": ["torch"]})
    assert list_trials(spec, defaults=defaults)[0].config.engine.name == "torch"


def test_the_sweeps_floor_replaces_the_recipes(folder: Path) -> None:
    spec = sweep(folder, appearance={"clip_model": "puppet", "value": 0.265})
    floor = list_trials(spec)[0].config.validation.floor
    assert floor is not None and (floor.value, floor.relative) == (0.265, None)


def test_a_searchers_trials_are_made_one_by_one(folder: Path) -> None:
    lr = {"kind": "loguniform", "low": 1e-5, "high": 1e-2}
    spec = sweep(folder, searcher="optuna", random={"samples": 2, "settings": {"optimizer.lr": lr}})
    maker = TrialMaker(spec)
    trial = maker.make(spec.motions[1], {"optimizer.lr": 3e-4}, seed=1)
    assert (trial.motion, dict(trial.settings)) == ("glide", {"optimizer.lr": 3e-4, "seed": 1})
    with pytest.raises(ValueError, match="optuna picks the trials"):
        list(maker.listed())
    with pytest.raises(ConfigError, match="searcher: optuna picks trials as results come in"):
        list_trials(spec)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": {"optimizer.rate": [1]}}, "optimizer.rate: there is no such setting"),
        ({"grid": {"batch_size": [0]}}, "batch_size: .*greater than or equal to 1"),
        ({"seeds": [0, 0]}, r"seeds: lists every seed once; for example seeds: \[0, 1\]"),
        ({"grid": {"max_steps": [5, 5.0]}}, "are the same trial; list every value once"),
    ],
)
def test_a_wrong_sweep_is_refused(folder: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list_trials(sweep(folder, **values))


def test_what_is_drawn_again_is_run_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sizes = {"kind": "choice", "values": [1, 2, 3, 4]}
    drawn = {"settings": {"batch_size": sizes}}
    few = list_trials(sweep(folder, random={"samples": 4, **drawn}))
    assert not caplog.records or "drawn again" in caplog.text
    trials = list_trials(sweep(folder, random={"samples": 40, **drawn}))
    assert sorted(trial.config.batch_size for trial in trials) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert caplog.records[-1].getMessage() == "72 of 80 trials are drawn again and run once"
    assert list(trials[: len(few)]) == list(few)  # more samples come behind those there were
    grid = {"max_steps": [5, 5.0]}
    with pytest.raises(ConfigError, match="are the same trial"):
        list_trials(sweep(folder, grid=grid, random={"samples": 4, **drawn}))


def test_a_seed_is_listed_once_with_a_searcher_too(folder: Path) -> None:
    lr = {"kind": "loguniform", "low": 1e-5, "high": 1e-2}
    drawn = {"samples": 2, "settings": {"optimizer.lr": lr}}
    with pytest.raises(ConfigError, match="seeds: lists every seed once"):
        sweep(folder, searcher="optuna", random=drawn, seeds=[1, 0, 1])


def test_two_folders_with_one_name_are_refused(folder: Path) -> None:
    (folder / "glide" / "motion.yaml").write_text("name: slide\n")
    with pytest.raises(ConfigError, match="two motions are called 'slide'"):
        list_trials(sweep(folder))
