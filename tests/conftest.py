"""What every test shares: no model hub, no screen, a fixed order, the tiny base models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from motion_ray.config import CustomizationConfig

# Before anything imports the libraries that read them. Ray's workers inherit the environment.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What a developer may have set for a cluster, a server or a terminal of their own.
for _name in ("RAY_ADDRESS", "MOTION_RAY_URL", "MOTION_RAY_API_KEY", "FORCE_COLOR", "COLUMNS"):
    os.environ.pop(_name, None)
# The tests' models are too small to share out: on a busy machine two threads wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

# How long an example may take says nothing on a busy machine.
hypothesis.settings.register_profile("motion_ray", deadline=None)
hypothesis.settings.load_profile("motion_ray")

TESTS = Path(__file__).parent
LATE = ("slow", "ray", "chaos", "large", "gpu")


@pytest.hookimpl(tryfirst=True)  # before -m picks tests by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests/ray and tests/gpu by their folder; run the fast first and clusters last.

    With pytest-xdist clusters come first, for the whole run waits for them.
    """
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("ray", "gpu"):
            item.add_marker(folder)
    items.sort(key=_lateness)  # stable: the order inside a file stays
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope`` a file stays in one process, and so does all that starts clusters:
    two of them at once on two cores only wait for each other.

    Not by ``xdist_group``, which xdist 3.8 does not see under pytest 9.2.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tests/ray" if file.startswith("tests/ray/") else file

    return ByFile(config, log)


def _lateness(item: pytest.Item) -> int:
    return max(
        (LATE.index(mark.name) + 1 for mark in item.iter_markers() if mark.name in LATE), default=0
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A GPU test on a machine without one is skipped, and says so."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Commands and trainings set torch's threads for their whole process; the next test has one."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small random base models, one for each prediction type."""
    from tests.tiny import build_tiny_base

    root = tmp_path_factory.mktemp("bases")
    return {kind: build_tiny_base(root / kind, kind) for kind in ("epsilon", "v_prediction")}


@pytest.fixture(scope="session")
def tiny_motion(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A motion folder and a regularization folder of small moving squares."""
    from tests.tiny import write_tiny_clips

    root = tmp_path_factory.mktemp("clips")
    return {
        "motion": write_tiny_clips(root / "slide", "a person doing the pll", clips=3),
        "regularization": write_tiny_clips(root / "other", "a person doing other things", clips=4),
    }


@pytest.fixture
def tiny_run(tiny_bases: dict[str, Path], tiny_motion: dict[str, Path]) -> CustomizationConfig:
    """A complete config that trains a tiny base in fractions of a second; no early stop."""
    from tests.tiny import tiny_config

    return tiny_config(
        tiny_bases["v_prediction"], tiny_motion["motion"], tiny_motion["regularization"]
    )
