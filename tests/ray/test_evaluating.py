"""An evaluation in two actors gives the rows of one process; lost actors cost nothing but time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from motion_ray.cluster.evaluating import Crew, RayEvaluators
from motion_ray.cluster.resources import WorkerResources
from motion_ray.config import ClipConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import BaseModelError, ConfigError, DeltaError
from motion_ray.evaluation.evaluated_motion import describe_motions
from motion_ray.evaluation.evaluator import NOT_RUN, EvaluationSettings, open_evaluator
from motion_ray.evaluation.measurement import Measurement
from motion_ray.evaluation.prompt_list import load_prompt_list
from motion_ray.evaluation.protocol import evaluate, in_process
from motion_ray.evaluation.tasks import Asked, Task, ask_all
from motion_ray.store import DeltaStore
from tests.deltas import changed, header
from tests.evaluation.fake_evaluators import build_tiny_classifier

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def crew(tiny_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Crew:
    root = tmp_path_factory.mktemp("evaluating")
    settings = EvaluationSettings(
        base=str(tiny_bases["v_prediction"]),
        classifier=str(build_tiny_classifier(root / "classifier")),
        copy_detector=NOT_RUN,
        clips=ClipConfig(frames=4, height=32, width=32),
    )
    settings = replace(settings, sampling=settings.sampling.model_copy(update={"steps": 1}))
    return Crew(settings, str(root / "store"), 2, WorkerResources("cpu", 1))


@pytest.fixture(scope="module")
def asked(crew: Crew) -> list[Asked]:
    backbone = open_evaluator(crew.settings, crew.store, "cpu").backbone
    store = DeltaStore(crew.store)
    store.publish(MotionDelta(header(backbone, name="dabbing"), changed(backbone)), "dabbing")
    listed = load_prompt_list("puppet")
    prompts = replace(listed, prompts=listed.prompts[:2])
    return ask_all(describe_motions(store, ["dabbing"], {}), prompts, [0, 1])


def test_two_actors_give_the_rows_of_one_process(
    cluster: str, crew: Crew, asked: list[Asked], tmp_path: Path
) -> None:
    here = open_evaluator(crew.settings, crew.store, "cpu")
    one = evaluate(asked, in_process(here), tmp_path / "one", here.measured_with(), batch_size=2)
    with RayEvaluators(crew) as evaluators:
        measured_with = evaluators.measured_with()
        two = evaluate(asked, evaluators.work, tmp_path / "two", measured_with, batch_size=2)
        assert measured_with == here.measured_with()
        wrong = replace(asked[0].motion, delta="00" * 32)
        with pytest.raises(DeltaError, match="published anew"):
            list(evaluators.work([Task(wrong, (asked[0].question,))]))
    assert len(one) == len(two) == 10
    for ours, theirs in zip(one, two, strict=True):
        assert ours.question == theirs.question and ours.scores and theirs.scores
        assert ours.scores.said == theirs.scores.said
        assert ours.scores.probabilities == pytest.approx(theirs.scores.probabilities, abs=1e-4)
        assert ours.scores.appearance == pytest.approx(theirs.scores.appearance, abs=1e-4)


def killing_all_after_the_first(
    evaluators: RayEvaluators, tasks: Sequence[Task]
) -> Iterator[list[Measurement]]:
    for number, rows in enumerate(evaluators.work(tasks)):
        yield rows
        if number == 0:
            for pid in evaluators.processes():
                os.kill(pid, signal.SIGKILL)


def test_tasks_of_lost_actors_go_to_new_ones_and_then_count_as_failed(
    cluster: str,
    crew: Crew,
    asked: list[Asked],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RayEvaluators(replace(crew, workers=1)) as evaluators:  # starting one takes long enough
        work = partial(killing_all_after_the_first, evaluators)
        measured_with = evaluators.measured_with()
        found = evaluate(asked, work, tmp_path / "twice", measured_with, batch_size=2)
        assert len(found) == len(asked) and not any(row.failure for row in found)
        monkeypatch.setattr("motion_ray.cluster.evaluating.ATTEMPTS", 1)
        found = evaluate(asked, work, tmp_path / "once", measured_with, batch_size=2)
    lost = [row for row in found if row.failure]
    assert len(found) == len(asked) and 0 < len(lost) < len(asked)
    assert all(row.failure.startswith("the worker was lost") for row in lost)


def test_a_model_that_cannot_be_loaded_is_named_as_without_ray(cluster: str, crew: Crew) -> None:
    broken = replace(crew, settings=replace(crew.settings, classifier="/nowhere"), workers=1)
    with RayEvaluators(broken) as evaluators, pytest.raises(BaseModelError, match="/nowhere"):
        evaluators.measured_with()
    with pytest.raises(ConfigError, match="--workers"):
        RayEvaluators(replace(crew, workers=0))
