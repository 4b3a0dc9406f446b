"""Settings of a deployment: where they come from, where its parts run, how many there are."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
import yaml

from deployments.app import build
from motion_ray.cluster.serving import (
    HEAD,
    ServeArguments,
    ServingSettings,
    check_here,
    generator_options,
    router_options,
    settings_from,
)
from motion_ray.cluster.serving_scaling import JOBS, WAITING, ByJobs
from motion_ray.cluster.session import LAST_CLUSTER
from motion_ray.errors import BaseModelError, ConfigError, KeysError
from motion_ray.serving.http.standalone import StandaloneConfig

HERE = Path("/srv")


def node(cpus: float, gpus: float = 0, head: bool = True) -> dict[str, Any]:
    resources = {"CPU": cpus, "GPU": gpus, **({HEAD: 1.0} if head else {})}
    return {"Alive": True, "Resources": resources}


def test_nothing_has_to_be_said() -> None:
    found = settings_from(ServeArguments(), [node(8)], HERE)
    assert found.site.store == "/srv/demo/run/store" and found.site.state == HERE / "serve-state"
    assert (found.studio.device, found.studio.threads, found.replicas) == ("cpu", 2, 1)


def test_words_of_a_command_line_become_values() -> None:
    words = {"replicas": "2", "most_replicas": "4", "host_gib": "1.5", "store": "s3://b/motions"}
    found = settings_from(ServeArguments.model_validate(words), [node(8)], HERE)
    assert (found.replicas, found.most_replicas) == (2, 4)
    assert found.studio.pool.host_bytes == 3 * 2**29
    assert found.site.store == "s3://b/motions"


def test_arguments_win_over_the_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    values = {
        "site": {"store": "a", "limits": {"steps": 7}},
        "studio": {"replica": {"lease_s": 3}},
        "replicas": 3,
    }
    (tmp_path / "serving.yaml").write_text(yaml.safe_dump(values))
    arguments = ServeArguments(config=Path("serving.yaml"), root=tmp_path, store="b")
    found = settings_from(arguments, [node(8)], HERE)
    assert found.site.store == str(tmp_path / "b") and found.site.limits.steps == 7
    assert found.studio.replica.lease_s == 3 and found.replicas == 3


@pytest.mark.parametrize(
    ("values", "place", "fix"),
    [
        ({"site": {"stoer": "a"}}, "site.stoer", "known here: base, base_name"),
        (
            {"studio": {"replica": {"lease_s": -1}}},
            "studio.replica.lease_s",
            "got -1, for example studio.replica.lease_s=15.0",
        ),
        ({"replicas": 4, "most_replicas": 2}, "config", ""),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, values: dict[str, Any], place: str, fix: str
) -> None:
    (tmp_path / "serving.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as caught:
        settings_from(ServeArguments(config=tmp_path / "serving.yaml"), [node(8)], HERE)
    assert caught.value.where == place and caught.value.fix.startswith(fix)


@pytest.mark.parametrize("content", [b"x: [", b"- a", b"\xff\xfe\x00", None])
def test_a_file_of_settings_that_is_none_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "serving.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"serving\.yaml: .*; (docs/serving.md has|save it as UTF-8)"
    ) as caught:
        settings_from(ServeArguments(config=file), [node(8)], HERE)
    assert "\n" not in str(caught.value)


def test_a_file_for_a_server_in_one_process_is_one_for_a_deployment() -> None:
    alone = StandaloneConfig().model_dump(mode="json")
    assert ServingSettings.model_validate(alone).server == StandaloneConfig().server


def test_generators_share_the_cores_of_the_machine_with_the_files() -> None:
    nodes = [node(2), node(64, gpus=8, head=False)]
    found = settings_from(ServeArguments(replicas=2), nodes, HERE)
    assert generator_options(found) == {"num_cpus": 1, "resources": {HEAD: 0.001}}
    assert router_options(found) == {"num_cpus": 0, "resources": {HEAD: 0.001}}


def test_with_jobs_in_a_database_generators_may_be_on_any_machine() -> None:
    nodes = [node(0), node(2, head=False), node(2, head=False)]
    found = settings_from(ServeArguments(replicas=2, jobs="postgresql://db/jobs"), nodes, HERE)
    assert found.site.jobs == "postgresql://db/jobs"
    assert generator_options(found) == {"num_cpus": 2, "resources": {}}
    assert router_options(found) == {"num_cpus": 0, "resources": {}}


def test_none_needs_more_cores_than_a_machine_has_for_it() -> None:
    """Five generators fit on machines with three cores and four, but with a core each."""
    nodes = [node(3), node(4, head=False)]
    for replicas, cores in ((3, 2), (4, 1), (5, 1)):
        arguments = ServeArguments(replicas=replicas, jobs="postgresql://db/jobs")
        assert settings_from(arguments, nodes, HERE).studio.threads == cores


def test_or_on_those_that_have_a_resource(tmp_path: Path) -> None:
    (tmp_path / "serving.yaml").write_text("machine: serving\n")
    arguments = ServeArguments(
        config=tmp_path / "serving.yaml", jobs="postgresql://db/jobs", replicas=2
    )
    there = node(1, head=False)
    there["Resources"]["serving"] = 1.0
    found = settings_from(arguments, [node(8), there], HERE)
    assert generator_options(found) == {"num_cpus": 1, "resources": {"serving": 0.001}}


def test_there_is_room_for_as_many_as_may_come() -> None:
    """Or the first one would have all cores, and no other could be started."""
    for most, cores in ((None, 2), (2, 1), (8, 1)):
        found = settings_from(ServeArguments(most_replicas=most), [node(2)], HERE)
        assert found.studio.threads == cores


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Ray runs here, and none is named."""
    monkeypatch.setattr("motion_ray.cluster.serving.ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_TMPDIR", f"{tmp_path}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_more_than_have_room_are_told_of(alone: None, caplog: pytest.LogCaptureFixture) -> None:
    for replicas in (2, 5):
        assert not caplog.text
        check_here(settings_from(ServeArguments(replicas=replicas), [node(2)], HERE), [node(2)])
    assert "there is room for 2 of 5 generators with 1 CPU core each" in caplog.text


@pytest.mark.parametrize(
    ("words", "where", "fix"),
    [
        ({"replica": "2"}, "replica", "known here: base, config, device"),
        ({"replicas": "two"}, "replicas", "got 'two', for example replicas=2"),
        ({"device": "quantum"}, "device", "got 'quantum', for example device=gpu"),
    ],
)
def test_a_wrong_argument_is_one_line(words: dict[str, str], where: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServeArguments.model_validate(words)
    assert caught.value.where == where and caught.value.fix.startswith(fix)


def test_what_a_server_on_this_machine_needs_is_looked_at_before(
    alone: None, tmp_path: Path
) -> None:
    with pytest.raises(KeysError, match="cannot be read"):
        build(ServeArguments(root=tmp_path, keys=Path("nofile.json")))
    with pytest.raises(BaseModelError, match="nosuch"):
        build(ServeArguments(root=tmp_path, base="nosuch"))


@pytest.mark.parametrize("sign", ["variable", "note", "option"])
def test_on_a_cluster_that_will_be_joined_they_may_lie_elsewhere(
    alone: None,
    sign: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor do the cores of this machine say for how many there is room."""
    command = click.Command("run", params=[click.Option(["--address"])])
    words = ["--address", "10.0.0.5:6379"] if sign == "option" else []
    if sign == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    if sign == "note":
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / LAST_CLUSTER).write_text("10.0.0.5:6379")
    arguments = ServeArguments(root=tmp_path, base="elsewhere", keys=Path("k"), replicas=100)
    with command.make_context("run", words):
        build(arguments)
    assert "room" not in caplog.text


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    for jobs in (
        "postgresql://me:hunter2@db/jobs",
        "postgresql://me:hun?ter/hunter2@db/jobs",
        "postgresql://db/jobs?pass%77ord=hunter2",
        "postgresql:/me:hunter2@db/jobs",
        "user=me password=hunter2",
        "host=db pwd=hunter2",
        "me:hunter2",
        "mysql://me/hunter2",
    ):
        with pytest.raises(ConfigError, match=r"PostgreSQL|no password stands in them") as caught:
            settings_from(ServeArguments(jobs=jobs), [node(8)], HERE)
        assert caught.value.where == "site.jobs"
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        for wrong in ({"jbos": jobs}, {"jobs": [jobs]}):
            with pytest.raises(ConfigError) as refused:
                ServeArguments.model_validate(wrong)
            assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "content",
    [
        "site: {jobs: [hunter2]}",
        "site: {jobs: 'postgresql://db/jobs', jobs_schema: 'postgresql://me:hunter2@db'}",
        "site:\n  jobs: postgresql://me:hunter2@db: x",
        "site:\n  jobs: 'postgresql://me:hunter2@db",
        "site: {jobs: postgresql://me:hunter2@db",
        "site: {jobs: !hunter2 x}",
        "site: {jobs: *hunter2}",
        "site: {jobs: @hunter2}",
        "site: {jobs: !hunter2!x y}",
        "site: {jobs: !hunter'2 x}",
        "site: {jobs: !!bool hunter2}",
        "site: {jobs: !!timestamp hunter2}",
        "%TAG !hunter2! a\n%TAG !hunter2! a\n---\nsite: {}",
    ],
)
def test_nor_from_a_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "serving.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        settings_from(ServeArguments(config=tmp_path / "serving.yaml"), [node(8)], HERE)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_each_generator_has_a_gpu_if_there_are_some() -> None:
    found = settings_from(ServeArguments(replicas=4), [node(32, gpus=4)], HERE)
    assert generator_options(found)["num_gpus"] == 1 and found.studio.device == "gpu"


@pytest.mark.parametrize(
    ("inside", "waiting", "replicas"),
    [([0, 0], [0, 0], 0), ([4, 3], [0, 0], 2), ([4, 4], [9, 9], 5)],
)
def test_replicas_follow_the_jobs(inside: list[float], waiting: list[float], replicas: int) -> None:
    """What waits in the router is told to every generator, and counted once."""
    recorded = {JOBS: dict(enumerate(inside)), WAITING: dict(enumerate(waiting))}
    context = cast(Any, SimpleNamespace(aggregated_metrics=recorded))
    assert ByJobs(jobs_per_replica=4)(context) == (replicas, {})


def test_serve_finds_the_class_of_the_arguments_itself() -> None:
    """It gives a plain mapping to a builder whose annotation is a string."""
    assert inspect.signature(build).parameters["arguments"].annotation is ServeArguments


def test_settings_survive_the_way_to_another_process() -> None:
    settings = ServingSettings()
    assert ServingSettings.model_validate_json(settings.model_dump_json()) == settings
