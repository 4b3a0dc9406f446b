"""The repository itself: dependencies and their lock, cluster file, Makefile, embedded model."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from motion_ray.errors import BaseModelError
from motion_ray.manifest import verify_manifest

REPO = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())
CLUSTER: dict[str, Any] = yaml.safe_load((REPO / "cluster.yaml").read_text())
ASSETS = REPO / "motion_ray/assets"

#: What the project is built on, and the releases that must never be installed again.
REQUIRED = (
    "torch",
    "torchvision",
    "ray",
    "deepspeed",
    "diffusers",
    "transformers",
    "peft",
    "decord",
    "open_clip_torch",
)
UNSAFE = {
    "torch": "2.5.1",
    "diffusers": "0.42.0",
    "transformers": "5.2.0",
    "ray": "2.51.0",
    "jinja2": "3.1.5",
}
A100_MACHINES = ("a2-highgpu-1g", "a2-ultragpu-1g")  # exactly one A100 each


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*extras: str) -> dict[str, Requirement]:
    texts = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        texts += PROJECT["project"]["optional-dependencies"][extra]
    return {canonical(r.name): r for r in map(Requirement, texts)}


def pins() -> dict[str, Version]:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): Version(version) for name, version in pairs}


# --- dependencies ---------------------------------------------------------------------------------


def test_the_required_packages_are_declared() -> None:
    assert {canonical(name) for name in REQUIRED} <= set(requirements())


@pytest.mark.parametrize("name", sorted(UNSAFE))
def test_unsafe_releases_are_out_of_range(name: str) -> None:
    assert UNSAFE[name] not in requirements()[name].specifier


def test_every_declared_package_is_pinned_within_its_range() -> None:
    locked = pins()
    wrong = [
        str(requirement)
        for name, requirement in requirements("dev", "gcp").items()
        if name not in locked or locked[name] not in requirement.specifier
    ]
    assert not wrong


def test_the_lock_is_plain() -> None:
    """Name and version only: no local version (+cu130), path, link or host."""
    lines = [
        line
        for line in (REPO / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert not [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)
    ]
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(set(names))


def test_torch_and_torchvision_are_a_pair() -> None:
    """torchvision's own metadata names the one torch it was built for."""
    needed = [Requirement(text) for text in importlib.metadata.requires("torchvision") or []]
    (torch,) = [requirement for requirement in needed if requirement.name == "torch"]
    assert importlib.metadata.version("torchvision").partition("+")[0] == str(pins()["torchvision"])
    assert pins()["torch"] in torch.specifier and len(list(torch.specifier)) == 1


def test_what_is_installed_is_what_is_locked() -> None:
    # Ray, once imported, puts copies of other packages on sys.path; they do not count.
    environment = importlib.metadata.distributions(path=[sysconfig.get_paths()["purelib"]])
    installed = {canonical(d.name): d.version.partition("+")[0] for d in environment}
    assert len(installed) > 100
    other = {
        n: (installed[n], str(v))
        for n, v in pins().items()
        if n in installed and Version(installed[n]) != v
    }
    assert not other, f"installed, locked: {other}; run make install"


def test_every_import_is_declared() -> None:
    providers = importlib.metadata.packages_distributions()
    missing = set()
    for folder, declared in (
        ("motion_ray", requirements() | requirements("postgres")),  # its home says if it is missing
        ("jobs", requirements()),
        ("deployments", requirements()),
        ("benchmarks", requirements("dev")),
        ("tests", requirements("dev")),
    ):
        for path in (REPO / folder).rglob("*.py"):
            for package in (
                _imported(path)
                - set(sys.stdlib_module_names)
                - {"motion_ray", "jobs", "tests", "deployments", "benchmarks"}
            ):
                if not {canonical(name) for name in providers.get(package, [])} & set(declared):
                    missing.add(f"{package} ({path.relative_to(REPO)})")
    assert not missing


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_ignored_warning_has_its_reason() -> None:
    text = (REPO / "pyproject.toml").read_text()
    listed = text.split("filterwarnings = [")[1].split("\n]")[0].strip().splitlines()
    assert listed[0].strip() == '"error",'
    assert not [line for line in listed[1:] if not re.search(r"['\"],\s+# \w+", line)]


# --- the cluster file -----------------------------------------------------------------------------


def test_cluster_file_satisfies_rays_schema() -> None:
    ray = importlib.util.find_spec("ray")  # finds it without importing it
    assert ray is not None and ray.submodule_search_locations is not None
    schema = Path(ray.submodule_search_locations[0]) / "autoscaler/ray-schema.json"
    jsonschema.validate(CLUSTER, json.loads(schema.read_text()))


def test_one_a100_a_trial_and_nothing_when_idle() -> None:
    kinds = CLUSTER["available_node_types"]
    (gpu,) = [kind for kind in kinds.values() if kind["resources"].get("GPU")]
    assert gpu["resources"]["GPU"] == 1 and gpu["node_config"]["machineType"] in A100_MACHINES
    assert gpu["min_workers"] == 0 < gpu["max_workers"] <= CLUSTER["max_workers"]
    assert CLUSTER["idle_timeout_minutes"] > 0
    # Compute Engine refuses to start a machine with a GPU under any other maintenance policy.
    assert {"onHostMaintenance": "TERMINATE"} in gpu["node_config"]["scheduling"]


def test_trial_drivers_fit_on_the_head_only() -> None:
    kinds = CLUSTER["available_node_types"]
    assert [name for name, kind in kinds.items() if "driver" in kind["resources"]] == [
        CLUSTER["head_node_type"]
    ]
    assert not kinds[CLUSTER["head_node_type"]]["resources"].get("GPU")


def test_dashboard_on_loopback_and_token_on_every_node() -> None:
    text = (REPO / "cluster.yaml").read_text()
    assert "0.0.0.0" not in text
    starts = [CLUSTER["head_start_ray_commands"][-1], CLUSTER["worker_start_ray_commands"][-1]]
    assert "--dashboard-host=127.0.0.1" in starts[0].split()
    for command in starts:
        before, _, _ = command.partition("ray start")
        assert (
            "RAY_AUTH_MODE=token" in before
            and "RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in before
        )
    assert CLUSTER["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in CLUSTER["setup_commands"])


def test_cluster_nodes_install_the_lock() -> None:
    assert any(
        "-c constraints.txt" in command and "pip check" in command
        for command in CLUSTER["setup_commands"]
    )


def test_cluster_commands_are_valid_shell() -> None:
    lists = [value for key, value in CLUSTER.items() if key.endswith("_commands")]
    lists += [
        kind.get("initialization_commands", []) for kind in CLUSTER["available_node_types"].values()
    ]
    for command in [command for commands in lists for command in commands]:
        ran = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert ran.returncode == 0, f"{command}: {ran.stderr}"


# --- the Makefile and CI --------------------------------------------------------------------------


def _make_install(folder: Path, pretend: str) -> subprocess.CompletedProcess[str]:
    """``make install`` beside its inputs only, with a Python that first runs ``pretend``."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPO / name, folder)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; {pretend}; exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", "install", f"PYTHON={python}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_install_refuses_an_unsupported_python(tmp_path: Path) -> None:
    ran = _make_install(tmp_path, "sys.version_info = (3, 10, 4)")
    assert (
        ran.returncode != 0
        and "needs Python 3.11 or 3.12" in ran.stderr
        and "is 3.10" in ran.stderr
    )
    assert not (tmp_path / ".venv").exists()


def test_install_says_what_is_missing_for_virtual_environments(tmp_path: Path) -> None:
    ran = _make_install(tmp_path, "sys.modules['ensurepip'] = None")
    assert ran.returncode != 0 and "apt install python3-venv" in ran.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_demo_in_another_folder_touches_nothing_of_the_first() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    words = ["make", "-n", "-o", "install", "demo", "doctor", "DEMO_OUT=elsewhere"]
    ran = subprocess.run(
        words, cwd=REPO, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    places = re.findall(r"\bdemo/\w+|elsewhere/\w+", ran.stdout)
    assert set(places) == {
        f"elsewhere/{each}" for each in ("motion", "run", "regularization", "doctor")
    }


def test_ci_runs_what_the_readme_says() -> None:
    script = REPO / ".ci/run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text and "make test" in text and "make lint" in text


def test_the_python_range_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.13"
    assert (
        "(3, 11) <=" in (REPO / "Makefile").read_text()
        and "< (3, 13)" in (REPO / "Makefile").read_text()
    )


# --- what is shipped ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base"])
def test_asset_matches_its_manifest(name: str) -> None:
    entries = verify_manifest(ASSETS / name, BaseModelError)
    assert "README.md" in entries and any(file.endswith(".safetensors") for file in entries)


def test_a_changed_asset_is_noticed(tmp_path: Path) -> None:
    copy = shutil.copytree(ASSETS / "base", tmp_path / "base")
    weights = copy / "text_encoder/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BaseModelError, match=r"model\.safetensors"):
        verify_manifest(copy, BaseModelError)


def test_assets_are_in_the_package() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["motion_ray"]
    package = REPO / "motion_ray"
    data = [
        p.relative_to(package).as_posix()
        for p in package.rglob("*")
        if p.is_file() and p.suffix != ".py"
    ]
    left_out = [
        name
        for name in data
        if "__pycache__" not in name and not any(fnmatch(name, p) for p in patterns)
    ]
    assert not left_out


def test_the_changelog_has_one_unreleased_section() -> None:
    sections = re.findall(r"^## (.+)$", (REPO / "CHANGELOG.md").read_text(), re.M)
    assert sections == ["[Unreleased]"]


def test_the_page_of_settings_is_that_of_the_models() -> None:
    page = runpy.run_path(str(REPO / "docs/settings.py"))["page"]()
    found = (REPO / "docs/settings.md").read_text(encoding="utf-8")
    assert found == page, "call .venv/bin/python docs/settings.py"
    for name in ("optimizer.lr", "validation.floor.relative", "motions[].weight", "device_gib"):
        assert f"| `{name}` |" in found
