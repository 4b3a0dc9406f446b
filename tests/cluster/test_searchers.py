"""A search as Ray Tune asks it: what happens when the storage fails for a while."""

from __future__ import annotations

from typing import Any

import pytest

from motion_ray.cluster.patience import PATIENCE_SECONDS
from motion_ray.cluster.searchers import DeskSearcher, Searcher
from motion_ray.errors import LedgerError, MirrorError, MotionRayError
from motion_ray.sweeps.trial import Trial
from tests.sweeps.samples import trial

SLOW = LedgerError("s3://bucket", "cannot be read: timed out", "check the address")


class Script:
    """Answers with what it was given, one after another; errors are raised."""

    def __init__(self, *answers: Trial | str | MotionRayError | None) -> None:
        self._answers = list(answers)
        self.asked: list[Any] = []
        self.remote = self.next
        self.add = self

    def next(self, *arguments: Any) -> Any:
        self.asked.extend(arguments)
        answer = self._answers.pop(0)
        if isinstance(answer, MotionRayError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motion_ray.cluster.searchers.ray.get", lambda answer: answer)


def searcher(search: Script, desk: Script, seconds: list[float]) -> DeskSearcher:
    return DeskSearcher(search, desk, clock=lambda: seconds[0])  # type: ignore[arg-type]


def test_storage_that_fails_for_a_while_costs_no_trial_and_does_not_end_the_sweep() -> None:
    one, other = trial(1), trial(2)
    lost = MirrorError("s3://bucket/a", "cannot be read", "check the address")
    search, desk = Script(SLOW, one, lost, other, "done"), Script(SLOW, None, None)
    tune = searcher(search, desk, [0.0])
    answers = [tune.suggest(str(number)) for number in range(6)]
    assert answers[:4] == [None, None, {"identity": one.identity}, None]
    assert answers[4:] == [{"identity": other.identity}, Searcher.FINISHED]
    assert desk.asked == [one, one, other]


def test_storage_that_stays_away_ends_the_sweep_instead_of_waiting_for_ever() -> None:
    seconds = [0.0]
    tune = searcher(Script(SLOW, "later", SLOW, SLOW, SLOW), Script(), seconds)
    for now in (0.0, PATIENCE_SECONDS, PATIENCE_SECONDS + 1, 2 * PATIENCE_SECONDS):
        seconds[0] = now
        assert tune.suggest("1") is None
    seconds[0] = 2 * PATIENCE_SECONDS + 2
    with pytest.raises(LedgerError, match="timed out"):
        tune.suggest("1")
