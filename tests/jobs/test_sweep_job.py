"""What the command line of a sweep turns into, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.checks import check_configs, check_input
from jobs.customize import arguments, main
from jobs.signals import StopSignals
from jobs.sweep import (
    Work,
    check_policy,
    check_validation,
    conclude,
    open_record,
    parse_resources,
    read_spec,
)
from jobs.sweep_folders import sweep_folders
from jobs.sweep_run import share_places, trial_resources
from jobs.sweep_trials import KnownTrials, Workload
from motion_ray.cluster.resources import WorkerResources
from motion_ray.cluster.runs import Runs
from motion_ray.cluster.sweep import driver_share
from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError, DataError, LedgerError
from motion_ray.sweeps.ledger import Ledger
from motion_ray.sweeps.place import open_place
from motion_ray.sweeps.spec import SweepSpec, parse_spec
from motion_ray.sweeps.status import TrialState
from motion_ray.sweeps.trial import Trial
from motion_ray.types import RunFinished

CORE = WorkerResources("cpu", 1)
Read = Callable[..., SweepSpec]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A command line with a sweep file of these keys."""

    def read_one(*words: str, **keys: Any) -> SweepSpec:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(keys))
        file = ["--sweep", str(path)] if keys else []
        return read_spec(arguments().parse_args([*words, *file, "--out", "x"]))

    return read_one


def test_the_command_line_replaces_parts_of_the_file(read: Read) -> None:
    words = "--motions c d --recipe paper --base zero --resources gpu=0.5,cpu=2 --set max_steps=7"
    sets = {"max_steps": 5, "batch_size": 2}
    spec = read(*words.split(), motions=["a"], grid={"optimizer.lr": [1.0]}, set=sets, seeds=[1, 2])
    assert spec.motions == ("c", "d")
    assert (spec.recipe, spec.base) == ("paper", "zero")
    assert (spec.resources.gpu, spec.resources.cpu) == (0.5, 2)
    assert spec.fixed == {"max_steps": 7, "batch_size": 2}
    assert spec.grid == {"optimizer.lr": (1.0,)} and spec.seeds == (1, 2)


def test_several_motions_need_no_file(read: Read) -> None:
    spec = read("--motions", "a", "b", "--set", "optimizer.lr=1e-4")
    assert spec.motions == ("a", "b") and spec.recipe == "puppet"
    assert spec.fixed == {"optimizer.lr": 1e-4}
    assert read("--motion", "a", seeds=[3]).motions == ("a",)


def test_bad_words_are_named() -> None:
    assert parse_resources("gpu=0.5, cpu=2") == {"gpu": 0.5, "cpu": 2}
    with pytest.raises(ConfigError, match=r"--resources gpu:1: .*gpu=0\.5,cpu=2"):
        parse_resources("gpu:1")
    with pytest.raises(ConfigError, match="names gpu twice"):
        parse_resources("gpu=1,gpu=2")


def test_resources_of_the_command_line_replace_those_that_they_name(read: Read) -> None:
    spec = read("--resources", "cpu=8", motions=["a"], resources={"gpu": 0.5})
    assert (spec.resources.gpu, spec.resources.cpu) == (0.5, 8)
    with pytest.raises(ConfigError, match="--device gpu: contradicts resources of no GPU"):
        read("--device", "gpu", motions=["a"], resources={"gpu": 0})


def test_a_recipe_file_is_found_from_another_folder(read: Read) -> None:
    assert read(motions=["a"], recipe="my.yaml").recipe == str(Path.cwd() / "my.yaml")


@pytest.mark.parametrize(
    ("node", "keys", "threads", "expected"),
    [
        ({"CPU": 8.0}, {}, 0, ("cpu", 1, 1)),
        ({"CPU": 8.0}, {}, 4, ("cpu", 4, 1)),
        ({"CPU": 8.0}, {"resources": {"cpu": 2}}, 0, ("cpu", 2, 1)),
        ({"CPU": 16.0, "GPU": 8.0}, {}, 0, ("gpu", 2, 1)),
        ({"CPU": 64.0, "GPU": 8.0}, {}, 0, ("gpu", 4, 1)),
        ({"CPU": 16.0, "GPU": 8.0}, {"resources": {"gpu": 0.5}}, 0, ("gpu", 1, 0.5)),
        ({"CPU": 64.0, "GPU": 8.0}, {"resources": {"gpu": 0}}, 0, ("cpu", 1, 0)),
    ],
)
def test_a_trial_holds_the_cores_that_it_uses(
    monkeypatch: pytest.MonkeyPatch,
    node: dict[str, float],
    keys: dict[str, Any],
    threads: int,
    expected: tuple[str, int, float],
) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node}])
    found = trial_resources(parse_spec({"motions": ["m"], **keys}), "auto", threads)
    assert (found.device, found.cpus, found.gpus) == expected


def test_a_trial_with_more_threads_than_cores_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}])
    spec = parse_spec({"motions": ["m"], "resources": {"cpu": 2}})
    with pytest.raises(ConfigError, match=r"a trial holds 2 cores and engine\.threads is 8"):
        trial_resources(spec, "auto", 8)


def test_behind_an_address_is_what_lasts_and_each_machine_has_a_folder_for_work(
    tmp_path: Path,
) -> None:
    folders = sweep_folders("memory://sweeps/night-1/", None, tmp_path, "work")
    assert folders.root == tmp_path / "work"
    uri = "memory://sweeps/night-1"
    assert (folders.ledger, folders.store, folders.name) == (
        f"{uri}/ledger",
        f"{uri}/store",
        "night-1",
    )
    assert folders.runs == Runs(tmp_path / "work" / "runs", f"{uri}/runs")
    assert folders.page == tmp_path / "work" / "copies"
    (tmp_path / "work").mkdir()
    page = tmp_path / "work" / "leaderboard.html"
    page.write_text("a page")
    assert folders.publish(page) == f"{uri}/leaderboard.html"
    assert open_place(uri).read("leaderboard.html") == b"a page"
    again = sweep_folders("memory://sweeps/night-1", None, tmp_path, None)
    other = sweep_folders("memory://sweeps/night-2", None, tmp_path, None)
    assert again.root != other.root
    beside = sweep_folders("memory://sweeps/night-1", "s3://bucket/motions", tmp_path, None)
    assert beside.store == "s3://bucket/motions"


def test_what_goes_with_no_address_or_with_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--work w: is for an --out that is an address"):
        sweep_folders("out", None, tmp_path, "w")
    with pytest.raises(LedgerError, match="nowhere://x: cannot be opened"):
        sweep_folders("nowhere://x", None, tmp_path, None)
    folders = sweep_folders("memory://x", None, tmp_path, None)
    beside = parse_spec({"motions": ["m"], "validation": "actor"})
    with pytest.raises(ConfigError, match="needs run folders that all nodes see"):
        check_validation(beside, folders)
    check_validation(beside, sweep_folders("out", None, tmp_path, None))


def test_a_policy_is_refused_where_nothing_would_ever_be_judged(
    tiny_run: CustomizationConfig,
) -> None:
    floor = {"clip_model": "puppet", "value": 0.2, "relative": None}
    bare = Trial("a" * 64, "m", {}, tiny_run.replace({"validation": {"floor": None}}))
    scored = Trial("b" * 64, "m", {}, tiny_run.replace({"validation": {"floor": floor}}))
    spec = parse_spec({"motions": ["m"], "policy": {}})
    with pytest.raises(ConfigError, match=r"policy: judges .*for example appearance: {clip_model"):
        check_policy(spec, [bare, bare])
    check_policy(spec, [bare, scored])
    check_policy(parse_spec({"motions": ["m"]}), [bare])


def test_a_recipe_file_says_itself_which_engine_it_wants_and_a_named_recipe_does_not(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(yaml.safe_dump(tiny_run.model_dump(mode="json")))
    changes = {"regularization.source": "none", "clips.frames": 4}
    others = {"motions": [tiny_run.motion], "set": changes}
    for name, engine in ((str(recipe), "torch"), ("puppet", "deepspeed")):
        plan = check_input(
            recipe=name,
            base=None,
            motion=tiny_run.motion,
            sets=[f"{setting}={value}" for setting, value in changes.items()],
            out=str(tmp_path / "out"),
            store=None,
            here=tmp_path,
        )
        [trial] = (
            Workload(parse_spec({"recipe": name, **others}), tmp_path)
            .known(Ledger(tmp_path / "ledger"))
            .trials
        )
        assert trial.config == plan.config and trial.config.engine.name == engine


def test_a_searcher_whose_package_is_missing_is_refused_with_a_way_to_get_it(
    tiny_run: CustomizationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = {"samples": 1, "settings": {"optimizer.lr": {"kind": "choice", "values": [1.0]}}}
    sweep = tmp_path / "sweep.yaml"
    content = {"motions": [tiny_run.motion], "searcher": "hebo", "random": drawn}
    sweep.write_text(yaml.safe_dump(content))
    assert main(["--sweep", str(sweep), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "searcher: hebo: needs the package hebo" in message and "pip install" in message
    assert not (tmp_path / "out").exists()


def test_what_is_left_counts_what_a_searcher_has_still_to_think_of(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_run.model_dump(mode="json")))
    drawn = {"kind": "uniform", "low": 0.001, "high": 0.002}
    values = {
        "recipe": str(recipe),
        "motions": [tiny_run.motion],
        "searcher": "optuna",
        "seeds": [0, 1],
        "random": {"samples": 3, "settings": {"optimizer.lr": drawn}},
    }
    workload = Workload(parse_spec(values), tmp_path)
    assert (len(workload.examples), workload.most) == (2, 6)
    ledger = Ledger(tmp_path / "ledger")
    known = workload.known(ledger)
    assert (list(known.trials), known.unasked) == ([], 6)
    assert share_places(_work(workload, known), 9, CORE) == (6, 0)


def _work(workload: Workload, known: KnownTrials) -> Work:
    plan = workload.search()
    assert plan is not None
    return Work(plan.spec, "cpu", known.trials, plan, known.unasked)


@pytest.mark.parametrize(
    ("keys", "places", "expected"),
    [
        ({}, 3, (3, 0)),
        ({}, 9, (4, 0)),  # no more than there are trials
        ({"concurrency": 2}, 0, (2, 0)),  # an autoscaler brings nodes
        ({"validation": "actor"}, 3, (2, 1)),
        ({"validation": "actor"}, 9, (4, 1)),
        ({"validation": "actor", "concurrency": 3}, 3, (3, 1)),
    ],
)
def test_places_are_shared_between_trials_and_scorers(
    tiny_run: CustomizationConfig, keys: dict[str, Any], places: int, expected: tuple[int, int]
) -> None:
    floor = {"validation": {"floor": {"relative": 0.9}}}
    trials = [Trial(letter * 64, "m", {}, tiny_run.replace(floor)) for letter in "abcd"]
    spec = parse_spec({"motions": ["m"], **keys})
    assert share_places(Work(spec, "cpu", trials, None, 0), places, CORE) == expected


def test_too_few_places_are_refused(tiny_run: CustomizationConfig) -> None:
    floor = {"validation": {"floor": {"relative": 0.9}}}
    trials = [Trial("a" * 64, "m", {}, tiny_run.replace(floor))]
    with pytest.raises(ConfigError, match="no room for a trial "):
        share_places(Work(parse_spec({"motions": ["m"]}), "cpu", trials, None, 0), 0, CORE)
    beside = parse_spec({"motions": ["m"], "validation": "actor"})
    with pytest.raises(ConfigError, match="no room for a trial and a scorer"):
        share_places(Work(beside, "cpu", trials, None, 0), 1, CORE)


def test_drivers_go_where_only_the_head_is() -> None:
    head = {"CPU": 8.0, "node:__internal_head__": 1.0}
    assert list(driver_share(head)) == ["node:__internal_head__"]
    assert list(driver_share(head | {"driver": 1.0})) == ["driver"]


def test_the_record_is_opened_with_what_is_left_to_run(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    folders = sweep_folders(str(tmp_path / "out"), None, tmp_path, None)
    assert folders.store == str(tmp_path / "out" / "store")
    trials = [Trial(letter * 64, "m", {"seed": letter}, tiny_run) for letter in "abcd"]
    ledger = Ledger(folders.ledger)
    assert open_record(ledger, folders, trials, retry_failed=False) == trials
    attempts = [ledger.start(trial.identity) for trial in trials[:3]]
    assert attempts == [1, 1, 1]
    ledger.finish("a" * 64, 1, RunFinished(1, 1, "max_steps", "m@1", "s", "r"), 1.0)
    ledger.fail("b" * 64, 1, "a bad clip")
    # The third was running when the script was killed.
    assert open_record(ledger, folders, trials, retry_failed=False) == trials[2:]
    assert ledger.status("c" * 64).state is TrialState.WAITING
    assert open_record(ledger, folders, trials, retry_failed=True) == trials[1:]


def test_a_clip_that_is_too_short_is_found_before_anything_runs(
    tiny_run: CustomizationConfig,
) -> None:
    long = tiny_run.replace({"clips": {"frames": 99}})
    check_configs([tiny_run])
    with pytest.raises(DataError, match="frames"):
        check_configs([tiny_run, long])


def test_a_sweep_is_refused_for_whatever_a_single_run_is(
    tiny_run: CustomizationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip").mkdir()
    encoder = {"clip_model": str(tmp_path / "clip"), "value": 0.2, "relative": None}
    floor = {"clip_model": "puppet", "value": 0.2, "relative": None}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"validation": {"floor": floor, "prompts": []}}, "an appearance floor needs prompts"),
        ({"validation": {"floor": encoder}}, "is missing"),
        ({"validation": {"publish": True}, "name": "a" * 63}, "-step-"),
        ({"base": str(tmp_path / "clip")}, "model_index.json"),
    ]
    for number, (changes, message) in enumerate(wrong):
        recipe = tmp_path / f"{number}.yaml"
        values = tiny_run.replace(changes).model_dump(mode="json")
        recipe.write_text(yaml.safe_dump(values))
        out = ["--recipe", str(recipe), "--out", str(tmp_path / f"out-{number}")]
        for words in (["--motion", tiny_run.motion], ["--motions", tiny_run.motion]):
            assert main([*words, *out]) == 2
            assert message in capsys.readouterr().err
        assert not (tmp_path / f"out-{number}").exists()


def test_what_could_not_be_registered_is_said_at_the_end_and_in_the_exit_code(
    tiny_run: CustomizationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = sweep_folders(str(tmp_path / "out"), None, tmp_path, None)
    trial, ledger = Trial("a" * 64, "m", {}, tiny_run), Ledger(folders.ledger)
    open_record(ledger, folders, [trial], retry_failed=False)
    ledger.start(trial.identity)
    ledger.finish(trial.identity, 1, RunFinished(1, 1, "max_steps", "m@1", "s", "r"), 1.0)
    with StopSignals() as signals:
        assert conclude(ledger, KnownTrials((trial,), 0), folders, signals) == 1
    told = capsys.readouterr()
    assert "1 done, 0 failed, 0 left" in told.out and "leaderboard" in told.out
    assert told.err.startswith("error: s: ") and told.err.count("\n") == 1
    assert (tmp_path / "out" / "leaderboard.html").exists()
