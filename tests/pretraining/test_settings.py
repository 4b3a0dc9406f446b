"""Settings changed by name."""

from __future__ import annotations

import pytest

from motion_ray.errors import ConfigError
from motion_ray.evaluation.train_clip import ClipTraining
from motion_ray.pretraining.denoiser_stage import IMAGE_SETTINGS
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
        ("lr=nan", "is finite, got 'nan'"),
        ("lr=inf", "is finite, got 'inf'"),
        ("round_trip_share=1.5", "is at most 1, got '1.5'"),
    ],
)
def test_wrong_settings_are_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change_settings(ClipTraining(), [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("precision=float32", "is auto, fp32 or bf16, got 'float32'"),
        ("caption_dropout=7", "is at most 1"),
        ("average=3", "is at most 1"),
        ("lr_floor=1.01", "is at most 1"),
        ("coarse=2", "is at most 1"),
    ],
)
def test_what_a_denoiser_cannot_be_trained_with_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        change_settings(IMAGE_SETTINGS, [assignment])
    assert error.value.where == f"--set {assignment.split('=')[0]}"


def test_the_ends_of_a_share_are_allowed() -> None:
    changed = change_settings(IMAGE_SETTINGS, ["caption_dropout=0", "average=1", "precision=fp32"])
    assert (changed.caption_dropout, changed.average, changed.precision) == (0, 1, "fp32")
