"""Scores while a base model trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from motion_ray.backbones.unet3d import load_backbone
from motion_ray.pretraining.scoring import BaseScorer
from tests.evaluation.fake_evaluators import build_tiny_classifier


@pytest.mark.slow
def test_each_attribute_is_a_share_of_the_videos(tmp_path: Path) -> None:
    classifier = build_tiny_classifier(tmp_path / "classifier")
    scores = BaseScorer(2, str(classifier))(load_backbone("puppet", "cpu"))
    assert set(scores) == {"motion", "kind", "colour", "place"}
    assert all(value in (0.0, 0.5, 1.0) for value in scores.values())
