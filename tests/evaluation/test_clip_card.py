"""The card of the embedded image-text model: what it says about the world comes from the world."""

from __future__ import annotations

import pytest

from motion_ray.data.puppets.bodies import COLOURS, KINDS
from motion_ray.data.puppets.motions import NAMED_MOTIONS
from motion_ray.data.puppets.places import PLACES
from motion_ray.evaluation import clip_card
from motion_ray.evaluation.clip_card import ClipReport, write_card
from motion_ray.evaluation.clip_scores import OPTIONS, WRONGS, ClipScores
from motion_ray.evaluation.train_clip import ClipTraining


def scores(accuracy: float) -> ClipScores:
    return ClipScores(
        accuracy=dict.fromkeys(OPTIONS, accuracy),
        right=0.8,
        wrong={"+".join(names): 0.4 for names in WRONGS},
        blur={1.0: 0.7},
        noise={0.1: 0.6},
        shuffled=0.1,
        grey=0.0,
    )


def card() -> str:
    report = ClipReport(
        settings=ClipTraining(scenes=10, frames_per_scene=3),
        command="python -m jobs.pretrain --stage clip --out clip",
        vae="abc",
        minutes=7.0,
        device="2 cores",
        words=90,
        parameters=1234,
        tested=5,
        real=scores(0.99),
        soft=scores(0.97),
    )
    return write_card(report)


def test_counts_are_those_of_the_world() -> None:
    flat = " ".join(card().split())
    assert f"all {len(NAMED_MOTIONS)} motions" in flat and "improvised" in flat
    assert f"({len(KINDS)} kinds, {len(COLOURS)} colours, {len(PLACES)} places)" in flat


def test_counts_follow_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_card, "NAMED_MOTIONS", ("one", "two"))
    monkeypatch.setattr(clip_card, "OPTIONS", {"kind": ("cat",), "place": ("here", "there", "off")})
    flat = " ".join(card().split())
    assert "all 2 motions" in flat and "(1 kinds, 3 places)" in flat


def test_scores_stand_under_their_names() -> None:
    text = card()
    assert "| zero-shot accuracy | kind | colour | place |\n|---|---|---|---|\n" in text
    assert "| real frames | 99.0% | 99.0% | 99.0% |" in text
    assert "| through the VAE | 97.0% | 97.0% | 97.0% |" in text
    assert "| as it is | 0.800 | 0.800 |" in text
    assert "| wrong kind and colour | 0.400 | 0.400 |" in text
    assert "30 frames of 10" in " ".join(text.split())
