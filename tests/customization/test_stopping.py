"""The appearance floor: what is kept, what stops, what is refused."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor

from motion_ray.config import AppearanceFloor, ValidationConfig
from motion_ray.customization.stopping import AppearanceValidator, StoppingState
from motion_ray.errors import ConfigError
from motion_ray.types import GeneratedVideo

RELATIVE = AppearanceFloor(relative=0.9)


def test_training_goes_on_above_the_floor_and_stops_below():
    state = StoppingState()
    assert state.observe(0, 0.30, RELATIVE)
    assert state.floor(RELATIVE) == pytest.approx(0.27)
    assert state.observe(10, 0.29, RELATIVE) and state.observe(20, 0.275, RELATIVE)
    assert not state.stopped
    assert not state.observe(30, 0.269, RELATIVE)
    assert state.stopped and state.last_good == 20 and state.last_score == 0.275


def test_a_score_on_the_floor_passes():
    state = StoppingState()
    absolute = AppearanceFloor(value=0.265)
    assert state.observe(0, 0.30, absolute) and state.observe(5, 0.265, absolute)


def test_a_higher_score_is_not_better():
    """Appearance is a constraint: the last step above the floor is kept, not the one with the best
    score."""
    state = StoppingState()
    for step, score in ((0, 0.30), (10, 0.299), (20, 0.28), (30, 0.2)):
        state.observe(step, score, RELATIVE)
    assert state.last_good == 20


def test_a_floor_above_the_base_is_an_error_before_training():
    with pytest.raises(
        ConfigError, match=r"base model itself scores 0\.2000, below the floor 0\.2650"
    ):
        StoppingState().observe(0, 0.2, AppearanceFloor(value=0.265))


def test_nothing_to_keep_is_an_error():
    state = StoppingState()
    state.observe(0, 0.3, RELATIVE)
    with pytest.raises(ConfigError, match="validate more often"):
        state.observe(10, 0.1, RELATIVE)


def test_state_survives_json():
    import json

    state = StoppingState()
    state.observe(0, 0.3, RELATIVE)
    state.observe(10, 0.28, RELATIVE)
    assert StoppingState(**json.loads(json.dumps(asdict(state)))) == state


class Recording:
    """A generator and an encoder that note what they are asked."""

    name, weights_sha256 = "recording", "ab" * 32

    def __init__(self) -> None:
        self.generated: list[tuple[str, int]] = []
        self.scored: list[tuple[int, str]] = []

    def generate(self, prompts: list[str], seeds: list[int]) -> list[GeneratedVideo]:
        """Videos of one grey each, in order."""
        asked = list(zip(prompts, seeds, strict=True))
        self.generated += asked
        return [
            GeneratedVideo(torch.full((2, 3, 16, 16), 10 * i, dtype=torch.uint8), 8.0, *each)
            for i, each in enumerate(asked)
        ]

    def similarity(self, frames: Tensor, text: str) -> Tensor:
        """Of its two frames; the mean is 0.1 for the first video, 0.2, 0.4 and 0.7."""
        grey = int(frames[0, 0, 0, 0])
        self.scored.append((grey, text))
        middle = {0: 0.1, 10: 0.2, 20: 0.4, 30: 0.7}[grey]
        return torch.tensor([middle - 0.05, middle + 0.05])


def test_the_score_is_of_every_prompt_and_seed_without_the_motion_in_the_text(tmp_path):
    settings = ValidationConfig(
        prompts=("a red robot <motion>", "a cat <motion> in the snow"),
        seeds=(3, 5),
        phrase="making the <token> sign",
    )
    both: Any = Recording()
    score = AppearanceValidator(settings, both, both, "pll").score(tmp_path / "step-000002")
    assert both.generated == [
        ("a red robot making the pll sign", 3),
        ("a red robot making the pll sign", 5),
        ("a cat making the pll sign in the snow", 3),
        ("a cat making the pll sign in the snow", 5),
    ]
    assert both.scored == [
        (0, "a red robot"),
        (10, "a red robot"),
        (20, "a cat in the snow"),
        (30, "a cat in the snow"),
    ]
    assert score == pytest.approx(0.35)
    written = sorted(path.name for path in (tmp_path / "step-000002").iterdir())
    assert written == ["00.mp4", "01.mp4", "02.mp4", "03.mp4"]
