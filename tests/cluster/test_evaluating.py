"""What an actor of an evaluation does with errors; real ones: ``tests/ray/test_evaluating.py``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from motion_ray.cluster.evaluating import EvaluationActor
from motion_ray.errors import DeltaError, DeviceError, MotionRayError


def actor_that_meets(fault: MotionRayError) -> Any:
    def work(task: object) -> object:
        raise fault

    actor: Any = EvaluationActor.__new__(EvaluationActor)  # without models
    actor._failure, actor._evaluator = None, SimpleNamespace(work=work)
    return actor


def test_a_gpu_that_works_no_more_ends_its_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would be given tasks meanwhile, and this one would fail all of its own in no time."""

    class Ended(BaseException):
        pass

    def end() -> None:
        raise Ended

    monkeypatch.setattr("motion_ray.cluster.evaluating.exit_actor", end)
    with pytest.raises(Ended):
        actor_that_meets(DeviceError("cuda:0", "computes nothing more")).work("task")


def test_what_another_try_would_meet_again_is_an_answer() -> None:
    fault = DeltaError("arms@1", "is damaged", "publish it again")
    assert actor_that_meets(fault).work("task") is fault
