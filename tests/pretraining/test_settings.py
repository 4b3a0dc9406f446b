"""Settings changed by name."""

from __future__ import annotations

import pytest

from motion_ray.errors import ConfigError
from motion_ray.evaluation.train_clip import ClipTraining
from motion_ray.pretraining.settings import change_settings


def test_settings_are_changed_by_name() -> None:
    changed = change_settings(ClipTraining(), ["steps=10", "lr=1e-3"])
    assert (changed.steps, changed.lr, changed.batch) == (10, 1e-3, ClipTraining().batch)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stepz=1", "no such setting"),
        ("steps=many", "is int"),
        ("steps=0", "positive"),
        ("steps", "is int"),
    ],
)
def test_wrong_settings_are_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change_settings(ClipTraining(), [assignment])
