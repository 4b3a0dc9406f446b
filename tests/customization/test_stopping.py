"""The appearance floor: what is kept, what stops, what is refused."""

from __future__ import annotations

import pytest

from motion_ray.config import AppearanceFloor
from motion_ray.customization.stopping import StoppingState
from motion_ray.errors import ConfigError

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
    assert StoppingState(**json.loads(json.dumps(state.as_dict()))) == state
