"""CLIP's verdicts as a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from motion_ray.customization import loop, stopping
from motion_ray.customization.models import KeptModels, ModelSource


@pytest.fixture(scope="session")
def scripted() -> Callable[[Mapping[int, float]], AbstractContextManager[None]]:
    """``with scripted({0: 0.3, 2: 0.29}):`` stands in for CLIP's verdict only: which step scores
    what. Training is real.
    """
    return _scripted


@contextmanager
def _scripted(scores: Mapping[int, float]) -> Iterator[None]:
    def score(self: object, folder: Path) -> float:
        folder.mkdir(parents=True, exist_ok=True)
        return scores[int(folder.name.removeprefix("step-"))]

    def no_encoder(*_: object) -> Any:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopping.AppearanceValidator, "score", score)
        patch.setattr(loop, "FROM_DISK", ModelSource(encoder=no_encoder))
        patch.setattr(KeptModels, "_encoder", no_encoder)
        yield
