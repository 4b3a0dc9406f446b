"""The handle of a scoring actor, with the actor's answers at hand instead of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motion_ray.cluster import scoring
from motion_ray.cluster.scoring import RemoteScorer
from motion_ray.config import CustomizationConfig
from motion_ray.errors import DeltaError


class Answers:
    """Stands for Ray and for the actor: one answer, known or not."""

    def __init__(self, answer: Any, known: bool) -> None:
        self.answer, self.known = answer, known
        self.asked: list[str] = []
        self.score = self

    def remote(self, config: CustomizationConfig, folder: str) -> Any:
        self.asked.append(folder)
        return self

    def wait(self, references: list[Any], timeout: float | None) -> tuple[list[Any], list[Any]]:
        return (references, []) if self.known or timeout is None else ([], references)

    def get(self, reference: Any) -> Any:
        assert reference is self
        return self.answer


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Answers:
    answers = Answers(*request.param)
    monkeypatch.setattr(scoring, "ray", answers)
    return answers


@pytest.mark.parametrize("answers", [(0.25, False)], indirect=True)
def test_a_score_is_waited_for_only_when_asked_to(
    answers: Answers, tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    scorer = RemoteScorer(answers)
    scorer.submit(tiny_run, tmp_path)
    assert answers.asked == [str(tmp_path)]
    assert scorer.score(wait=False) is None
    assert scorer.score(wait=True) == 0.25


@pytest.mark.parametrize("answers", [(DeltaError("w", "is damaged"), True)], indirect=True)
def test_what_cannot_be_scored_is_the_trials_own_error(
    answers: Answers, tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    scorer = RemoteScorer(answers)
    scorer.submit(tiny_run, tmp_path)
    with pytest.raises(DeltaError, match="is damaged"):
        scorer.score(wait=False)
