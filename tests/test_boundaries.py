"""Who may import what, what nobody may call, and how long a file may be (docs/architecture.md).

Read from the syntax tree, so that nothing has to be imported to be judged; one subprocess checks
what an import really loads.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SOURCES = ("motion_ray", "jobs", "deployments", "benchmarks", "tests")
LONGEST_FILE = 500  # lines

#: Package -> where it may be imported: one home keeps a heavy dependency's quirks in one place.
#: Patterns are of paths from the repository root; ``*`` crosses folders.
HOMES: dict[str, tuple[str, ...]] = {
    # The one benchmark starts a server, as a user would.
    "ray": (
        "motion_ray/cluster/*",
        "deployments/*",
        "jobs/*",
        "benchmarks/serve_overhead.py",
        "tests/ray/*",
        "tests/test_kuberay_serve.py",  # its schema of what is deployed
    ),
    "deepspeed": ("motion_ray/customization/engine*.py", "motion_ray/customization/deepspeed_*.py"),
    "decord": ("motion_ray/data/video.py",),
    "av": ("motion_ray/data/video.py", "motion_ray/data/container.py"),
    "open_clip": ("motion_ray/evaluation/*",),
    # Pretraining trains their modules, which backbones/embedded.py builds; here and below.
    # One benchmark compares with a server that is built on it alone.
    "diffusers": (
        "motion_ray/backbones/*",
        "motion_ray/diffusion/*",
        "motion_ray/pretraining/*",
        "benchmarks/serve_naive.py",
    ),
    # Text encoders of base models, and video classifiers that say which motion a video shows.
    "transformers": (
        "motion_ray/backbones/*",
        "motion_ray/evaluation/motion*.py",
        "motion_ray/pretraining/*",
    ),
    "peft": ("motion_ray/customization/*", "motion_ray/backbones/*"),
    # The client is a command line in a package that people import: its bar has a file of its own.
    "rich": ("jobs/*", "benchmarks/*", "motion_ray/client/display.py"),
    "httpx2": ("motion_ray/client/*",),
    "psycopg": ("motion_ray/serving/postgres_jobs.py",),
    "psycopg_pool": ("motion_ray/serving/postgres_jobs.py",),
    "fastapi": ("motion_ray/serving/http/*", "deployments/*"),
    "starlette": ("motion_ray/serving/http/*", "deployments/*"),
    "uvicorn": ("motion_ray/serving/http/__main__.py", "deployments/*"),
}

#: Packages that must not load when a module is imported, even in their home: only inside functions.
LAZY = frozenset({"deepspeed", "psycopg", "psycopg_pool"})

#: Tests build inputs and references with the libraries themselves; only Ray stays in tests/ray.
FREE_IN_TESTS = frozenset(HOMES) - {"ray"}

#: (file pattern, call) -> why it is sound there.
ALLOWED_CALLS: dict[tuple[str, str], str] = {
    (
        "tests/test_config.py",
        "pickle.loads",
    ): "an error of ours, pickled in the same test as Ray would send it",
    (
        "motion_ray/evaluation/motion_trn_weights.py",
        "torch.load",
    ): "TRN is published as nothing else; weights only, of a sha256 that the user gives, once",
    (
        "motion_ray/backbones/convert.py",
        "torch.load",
    ): "hubs have ZeroScope as nothing else; weights only, once, into safetensors",
    ("tests/data/test_latents.py", "torch.load"): "weights only, written by the test's own worker",
}


@dataclass(frozen=True)
class Import:
    """One imported top-level package."""

    package: str
    line: int
    at_import_time: bool


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders, as paths from the repository root."""
    found = [path for folder in folders for path in (REPO / folder).rglob("*.py")]
    return sorted(path.relative_to(REPO) for path in found if "__pycache__" not in path.parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((REPO / path).read_text(), filename=str(path))


def imports_of(tree: ast.Module) -> list[Import]:
    """All imports, also inside functions; ``if TYPE_CHECKING:`` never runs and is left out."""
    return list(_imports(tree, at_import_time=True))


def _imports(node: ast.AST, *, at_import_time: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), at_import_time=at_import_time)
            continue
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name.partition(".")[0], child.lineno, at_import_time)
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            yield Import(child.module.partition(".")[0], child.lineno, at_import_time)
        elif isinstance(child, ast.Call) and _called(child) in (
            "import_module",
            "importlib.import_module",
            "__import__",
        ):
            first = child.args[0] if child.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(first.value.partition(".")[0], child.lineno, at_import_time)
        inside = at_import_time and not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        yield from _imports(child, at_import_time=inside)


def _called(call: ast.Call) -> str:
    """``torch.load`` for ``torch.load(...)``; the empty string for what has no plain name."""
    parts: list[str] = []
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["?", *reversed(parts)]) if parts else ""
    return ".".join([node.id, *reversed(parts)])


def _is_home(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)


# --- who imports what -----------------------------------------------------------------------------


@pytest.mark.parametrize("package", sorted(HOMES))
def test_a_heavy_package_is_imported_only_in_its_home(package: str) -> None:
    strangers = []
    for path in python_files(*SOURCES):
        if path.parts[0] == "tests" and package in FREE_IN_TESTS:
            continue
        if not _is_home(path, HOMES[package]):
            strangers += [
                f"{path}:{i.line}" for i in imports_of(tree_of(path)) if i.package == package
            ]
    assert not strangers, (
        f"{package} may be imported only in {', '.join(HOMES[package])}; found in {strangers}"
    )


def test_some_are_imported_only_inside_functions() -> None:
    eager = [
        f"{path}:{i.line}"
        for path in python_files("motion_ray", "jobs", "deployments")
        for i in imports_of(tree_of(path))
        if i.package in LAZY and i.at_import_time
    ]
    assert not eager


def test_the_library_does_not_import_what_stands_above_it() -> None:
    above = {"jobs", "deployments", "tests", "benchmarks"}
    found = [
        f"{path}:{i.line}"
        for path in python_files("motion_ray")
        for i in imports_of(tree_of(path))
        if i.package in above
    ]
    assert not found


def test_the_core_does_not_import_the_cluster_part() -> None:
    found = []
    for path in python_files("motion_ray"):
        if path.parts[:2] == ("motion_ray", "cluster"):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = (
                    [a.name for a in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                )
                found += [
                    f"{path}:{node.lineno}" for n in names if n.startswith("motion_ray.cluster")
                ]
    assert not found


@pytest.mark.slow  # imports everything, in a process of its own
def test_nothing_outside_the_cluster_part_loads_ray_or_deepspeed() -> None:
    modules = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in python_files("motion_ray")
        if path.parts[:2] != ("motion_ray", "cluster") and path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys, motion_ray; "
        "[getattr(motion_ray, name) for name in motion_ray.__all__]; "
        f"[importlib.import_module(name) for name in {modules!r}]; "
        "print(sorted({'ray', 'deepspeed'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "[]"


# --- what nobody calls ----------------------------------------------------------------------------

FORBIDDEN = {
    "pickle.load": "runs code from the file",
    "pickle.loads": "runs code from the bytes",
    "torch.load": "unpickles; safetensors only",
    "joblib.load": "unpickles",
    "yaml.load": "builds any object; yaml.safe_load",
    "yaml.unsafe_load": "builds any object; yaml.safe_load",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "os.system": "goes through a shell",
    "os.popen": "goes through a shell",
}


def _faults(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            name = _called(node)
            if name in FORBIDDEN:
                yield name
            for keyword in node.keywords:
                true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if keyword.arg in ("shell", "trust_remote_code", "allow_pickle") and true:
                    yield f"{keyword.arg}=True"
        elif isinstance(node, ast.ImportFrom) and node.module in ("pickle", "torch", "yaml"):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in FORBIDDEN:
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            silent = all(
                isinstance(s, ast.Pass | ast.Continue) or _is_ellipsis(s) for s in node.body
            )
            if node.type is None and not _reraises(node):
                yield "bare except"
            elif broad and silent:
                yield "except Exception: pass"


def _is_ellipsis(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _reraises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_no_call_that_runs_data_as_code_or_hides_an_error() -> None:
    found = [(path.as_posix(), fault) for path in python_files(*SOURCES) for fault in _faults(path)]
    unexplained = [
        f"{path}: {fault} ({FORBIDDEN.get(fault, 'see CONTRIBUTING.md')})"
        for path, fault in found
        if not any(fnmatch(path, pattern) and fault == call for pattern, call in ALLOWED_CALLS)
    ]
    assert not unexplained


def test_the_allow_list_names_only_what_is_there() -> None:
    found = {(path.as_posix(), fault) for path in python_files(*SOURCES) for fault in _faults(path)}
    stale = [
        key
        for key in ALLOWED_CALLS
        if not any(fnmatch(p, key[0]) and f == key[1] for p, f in found)
    ]
    assert not stale


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("import torch\ntorch.load('x', weights_only=True)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("subprocess.run('ls', shell=True)", "shell=True"),
        ("AutoModel.from_pretrained('x', trust_remote_code=True)", "trust_remote_code=True"),
        ("eval('1')", "eval"),
        ("try:\n  f()\nexcept Exception:\n  pass", "except Exception: pass"),
        ("try:\n  f()\nexcept:\n  print()", "bare except"),
    ],
)
def test_the_search_finds_each_fault(source: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(source)
    assert list(_faults(file)) == [fault]


def test_the_search_leaves_sound_code_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "model.eval()\nyaml.safe_load(t)\njson.load(f)\ntry:\n  f()\nexcept OSError:\n  pass\n"
    )
    assert list(_faults(file)) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ray.train", [("ray", True)]),
        ("def f():\n  from ray import tune", [("ray", False)]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import ray", [("typing", True)]),
        (
            "import importlib\nimportlib.import_module('ray.tune')",
            [("importlib", True), ("ray", True)],
        ),
        ("from .ray import x", []),
    ],
)
def test_the_search_finds_every_way_to_import(
    source: str, expected: list[tuple[str, bool]]
) -> None:
    assert [(i.package, i.at_import_time) for i in imports_of(ast.parse(source))] == expected


# --- shape of the files ---------------------------------------------------------------------------


def test_no_file_is_longer_than_one_sitting() -> None:
    long = {
        str(p): n
        for p in python_files(*SOURCES)
        if (n := len((REPO / p).read_text().splitlines())) > LONGEST_FILE
    }
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path)
        for path in python_files("motion_ray", "jobs", "deployments", "tests")
        if (REPO / path).read_text().strip() and not ast.get_docstring(tree_of(path))
    ]
    assert not silent


def test_there_is_no_drawer_for_everything() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert not [str(path) for path in python_files(*SOURCES) if path.name in drawers]


def _tracked() -> list[str]:
    """What git knows, or would take: ignored files are somebody's own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if name and (REPO / name).is_file()]


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    # Written so that this file does not match itself.
    machine = re.compile(r"(?<![\w.~$}])/(?:wo" r"rk|ro" r"ot)/[\w.]")
    found = []
    for name in _tracked():
        data = (REPO / name).read_bytes()
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if machine.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found
