"""Validation beside the training: later, but the same verdicts, the same end, the same delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.config import CustomizationConfig
from motion_ray.customization.deferred import WEIGHTS, DeltaScorer, submit
from motion_ray.customization.delta import MotionDelta
from motion_ray.customization.loop import customize
from motion_ray.customization.models import KeptModels
from motion_ray.customization.run import RunFolder
from motion_ray.types import RunFinished, StepDone, Validated
from tests.deltas import changed, header
from tests.tiny import tiny_config


@dataclass
class LateScorer:
    """Scores for real, and keeps the score back for some questions.

    Args:
        late: how many questions that would not wait are answered with "not yet".
    """

    late: int
    work: DeltaScorer = field(default_factory=lambda: DeltaScorer(KeptModels(), "cpu"))
    asked: int = 0
    submitted: list[str] = field(default_factory=list)
    _score: float = 0.0

    def submit(self, config: CustomizationConfig, folder: Path) -> None:
        self.submitted.append(folder.name)
        self.asked, self._score = 0, self.work.score(config, folder)

    def score(self, *, wait: bool) -> float | None:
        self.asked += 1
        return self._score if wait or self.asked > self.late else None


Script = Callable[[Mapping[int, float]], AbstractContextManager[None]]

#: Below the floor at step 4; a run that went on would be above it again.
FALL = {0: 0.30, 2: 0.29, 4: 0.10, 6: 0.30, 8: 0.30}


@pytest.fixture(scope="module")
def floored(tiny_bases: dict[str, Path], tiny_motion: dict[str, Path]) -> CustomizationConfig:
    changes: dict[str, Any] = {"every": 2, "floor": {"relative": 0.5}}
    tiny = tiny_config(
        tiny_bases["v_prediction"], tiny_motion["motion"], tiny_motion["regularization"]
    )
    engine = {"threads": 1}  # a run's bits depend on how many there are
    steps = {"checkpoint_every": 1, "max_steps": 8}
    return tiny.replace({"validation": changes, "engine": engine, **steps})


@dataclass(frozen=True)
class Inline:
    """A run that waited for its verdicts, and its lines."""

    finished: RunFinished
    lines: list[dict[str, Any]]


@pytest.fixture(scope="module")
def fallen(
    floored: CustomizationConfig, scripted: Script, tmp_path_factory: pytest.TempPathFactory
) -> Inline:
    """What every run of this config ends as, by the script ``FALL``."""
    out = tmp_path_factory.mktemp("inline") / "run"
    with scripted(FALL):
        return Inline(finish(floored, out, None), lines(out))


def lines(out: Path) -> list[dict[str, Any]]:
    """Metrics in the order of steps, without clocks."""
    found = [{k: v for k, v in line.items() if k != "seconds"} for line in metrics(out)]
    return sorted(found, key=lambda line: (line["step"], line["event"]))


def metrics(out: Path) -> list[dict[str, Any]]:
    return RunFolder(out).read_metrics()


def finish(config: CustomizationConfig, out: Path, scorer: LateScorer | None) -> RunFinished:
    *_, last = customize(config, out, device="cpu", scorer=scorer)
    assert isinstance(last, RunFinished)
    return last


def test_scores_beside_the_training_are_those_of_the_training_itself(
    floored: CustomizationConfig, tmp_path: Path
) -> None:
    reachable = {"floor": {"relative": None, "value": -1.0}}  # a random base scores about zero
    config = floored.replace({"max_steps": 4, "validation": reachable})
    inline = finish(config, tmp_path / "inline", None)
    beside = finish(config, tmp_path / "beside", LateScorer(late=1))
    assert beside.sha256 == inline.sha256 and beside.extra == inline.extra
    assert lines(tmp_path / "beside") == lines(tmp_path / "inline")
    assert not list((tmp_path / "beside").rglob(WEIGHTS))


def test_weights_that_a_killed_run_left_are_not_scored(
    tiny_run: CustomizationConfig, tmp_path: Path
) -> None:
    """They are of the same step, but on a GPU the run that goes on has other bits."""
    backbone = load_backbone(tiny_run.base, "cpu")
    left, now = (MotionDelta(header(backbone), changed(backbone, seed)) for seed in (1, 2))
    left.save(tmp_path / WEIGHTS)
    scored: list[str] = []

    class Reads(LateScorer):
        def submit(self, config: CustomizationConfig, folder: Path) -> None:
            scored.append(MotionDelta.load(folder / WEIGHTS).sha256)

    submit(Reads(late=0), tiny_run, now, tmp_path)
    assert scored == [now.sha256] != [left.sha256]


def test_a_run_that_waits_ends_at_the_step_that_fell(fallen: Inline) -> None:
    end = fallen.finished
    assert (end.step, end.delta_step, end.reason) == (4, 2, "appearance_floor")


@pytest.mark.parametrize("late", [0, 1, 5])
def test_a_run_ends_at_the_step_that_fell_however_late_that_is_known(
    floored: CustomizationConfig, scripted: Script, fallen: Inline, tmp_path: Path, late: int
) -> None:
    with scripted(FALL):
        beside = finish(floored, tmp_path / "beside", LateScorer(late))
    assert (beside.step, beside.delta_step, beside.reason) == (4, 2, "appearance_floor")
    assert beside.sha256 == fallen.finished.sha256
    assert lines(tmp_path / "beside") == fallen.lines


@pytest.mark.parametrize("with_scorer", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_run_killed_while_it_waits_goes_on_to_the_same_end(
    floored: CustomizationConfig,
    scripted: Script,
    fallen: Inline,
    tmp_path: Path,
    known: bool,
    with_scorer: bool,
) -> None:
    out = tmp_path / "run"
    again = LateScorer(late=0)
    with scripted(FALL):
        events = customize(floored, out, device="cpu", scorer=LateScorer(late=1))
        # The score of step 4 is told after step 6's training began, that is after step 5 was saved.
        for event in events:
            if known and isinstance(event, Validated) and event.step == 4:
                break
            if not known and isinstance(event, StepDone) and event.step == 5:
                break
        events.close()  # pyright: ignore[reportAttributeAccessIssue]
        last = finish(floored, out, again if with_scorer else None)
    assert (last.step, last.delta_step) == (4, 2)
    assert last.sha256 == fallen.finished.sha256
    assert lines(out) == fallen.lines
    assert again.submitted == (["step-000004"] if with_scorer and not known else [])
