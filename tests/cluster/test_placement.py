"""What a worker asks for, which paths it gets, how its process is set up: without a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from motion_ray.backbones.unet3d import EMBEDDED
from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.paths import lasting_path, with_absolute_paths
from motion_ray.cluster.relay import CAPACITY, EventRelay
from motion_ray.cluster.resources import WorkerResources, choose_resources, count_workers
from motion_ray.cluster.session import write_token
from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError
from motion_ray.types import Checkpointed


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    resources = {"CPU": cpus, "memory": 1e9} | ({"GPU": gpus} if gpus else {})
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "wanted", "threads", "expected"),
    [
        ([node(8)], "auto", None, WorkerResources("cpu", 2)),
        ([node(1)], "auto", None, WorkerResources("cpu", 1)),
        ([node(8)], "auto", 6, WorkerResources("cpu", 6)),
        ([node(4), node(16)], "cpu", 32, WorkerResources("cpu", 16)),
        ([node(8), node(12, 1)], "auto", None, WorkerResources("gpu", 4)),
        ([node(8, 8)], "auto", None, WorkerResources("gpu", 1)),
        ([node(8, 1)], "cpu", None, WorkerResources("cpu", 2)),
        ([node(8)], "gpu", None, WorkerResources("gpu", 1)),  # an autoscaler will bring one
        ([node(8, 1, alive=False), node(2)], "auto", None, WorkerResources("cpu", 2)),
    ],
)
def test_a_worker_asks_for_what_some_node_can_give(
    nodes: list[dict[str, Any]], wanted: Any, threads: int | None, expected: WorkerResources
) -> None:
    assert choose_resources(nodes, wanted, threads) == expected


def test_a_cluster_without_cores_is_refused() -> None:
    with pytest.raises(ConfigError, match="no node has a CPU core"):
        choose_resources([node(0)], "auto", None)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [(2, 2), (1, 4), (0.6, 4), (0.5, 8), (0.4, 8), (1 / 3, 12), (0.25, 16)],
)
def test_a_part_of_a_gpu_lies_on_one_of_them(gpus: float, expected: int) -> None:
    resources = WorkerResources("gpu", 1, gpus)
    assert count_workers([node(64, 4), node(64), node(64, 8, alive=False)], resources) == expected
    assert count_workers([node(3, 4)], resources) == min(3, expected)


def test_a_lasting_path_is_absolute_and_never_where_ray_deletes(tmp_path: Path) -> None:
    assert lasting_path("runs/a", "--out", tmp_path) == tmp_path / "runs" / "a"
    assert lasting_path("/data/a", "--out", tmp_path) == Path("/data/a")
    unpacked = tmp_path / "runtime_resources" / "working_dir_files"
    assert lasting_path("/data/a", "--out", unpacked) == Path("/data/a")
    with pytest.raises(ConfigError, match="relative path"):
        lasting_path("runs/a", "--out", unpacked)
    with pytest.raises(ConfigError, match="Ray deletes"):
        lasting_path(str(unpacked / "a"), "--out", tmp_path)


def test_every_folder_of_a_config_becomes_absolute(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    (tmp_path / "clip").mkdir()
    floor = {"clip_model": "clip", "relative": 0.9}
    config = tiny_run.replace(
        {
            "base": "bases/a",
            "motion": "clips/m",
            "regularization": {"folder": "clips/r"},
            "validation": {"floor": floor},
        }
    )
    moved = with_absolute_paths(config, tmp_path)
    assert moved.base == str(tmp_path / "bases/a")
    assert moved.motion == str(tmp_path / "clips/m")
    assert moved.regularization.folder == str(tmp_path / "clips/r")
    assert moved.validation.floor is not None
    assert moved.validation.floor.clip_model == str(tmp_path / "clip")
    assert with_absolute_paths(moved, Path("/elsewhere")) == moved
    embedded = config.replace({"base": "puppet", "validation": {"floor": {"clip_model": "puppet"}}})
    kept = with_absolute_paths(embedded, tmp_path)
    assert kept.base == "puppet"
    assert kept.validation.floor is not None and kept.validation.floor.clip_model == "puppet"


def test_a_folder_of_the_same_name_does_not_take_the_embedded_models_place(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    floor = {"clip_model": EMBEDDED, "value": 0.2, "relative": None}
    config = tiny_run.replace({"base": EMBEDDED, "validation": {"floor": floor}})
    moved = with_absolute_paths(config, tmp_path)
    (tmp_path / EMBEDDED).mkdir()
    assert with_absolute_paths(config, tmp_path) == moved
    assert moved.validation.floor is not None
    assert (moved.base, moved.validation.floor.clip_model) == (EMBEDDED, EMBEDDED)


def test_a_worker_finds_the_programs_of_its_environment_first() -> None:
    environ = {"PATH": "/usr/bin"}
    prepare_worker_environment("cpu", environ)
    prepare_worker_environment("cpu", environ)
    assert environ["PATH"] == str(Path(sys.executable).parent) + os.pathsep + "/usr/bin"
    assert environ["DS_ACCELERATOR"] == "cpu"
    on_gpu: dict[str, str] = {}
    prepare_worker_environment("gpu", on_gpu)
    assert "DS_ACCELERATOR" not in on_gpu


def test_a_token_is_long_random_and_for_this_user_only(tmp_path: Path) -> None:
    first, second = write_token(tmp_path / "a"), write_token(tmp_path / "b")
    assert first.stat().st_mode & 0o777 == 0o600
    assert len(first.read_text()) == 64
    assert first.read_text() != second.read_text()
    with pytest.raises(FileExistsError):
        write_token(first)


def test_the_relay_hands_items_out_once_and_in_order_and_forgets_the_oldest() -> None:
    relay = EventRelay()
    assert relay.begin_attempt("node", 1) == 1
    assert relay.push([Checkpointed(n, "") for n in range(CAPACITY + 5)]) is False
    items = relay.drain()
    assert [item.step for item in items if isinstance(item, Checkpointed)] == list(
        range(5, CAPACITY + 5)
    )
    assert relay.drain() == []
    relay.request_stop()
    assert relay.push([]) is True
    assert relay.begin_attempt("node", 2) == 2
