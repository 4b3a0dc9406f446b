"""Scoring a base model: prompts, tables by hand, resuming, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import SamplingConfig
from motion_ray.data.puppets.bodies import KINDS
from motion_ray.data.puppets.motions import BASE_MOTIONS, HELD_OUT_MOTIONS
from motion_ray.data.puppets.world import PuppetScene, split_of
from motion_ray.errors import ConfigError, RunFolderError
from motion_ray.evaluation.base_scores import (
    Confusion,
    held_out_in_words,
    score_base,
    shuffled,
    summarize,
)
from motion_ray.evaluation.clip import load_image_text_encoder
from motion_ray.evaluation.motion import load_motion_classifier
from motion_ray.evaluation.recognition import Seen
from motion_ray.evaluation.rows import RowFile, VideoRow
from motion_ray.evaluation.scene_prompts import ScenePrompt, balanced_prompts
from motion_ray.evaluation.scored_videos import Bench
from motion_ray.evaluation.statistics import Share
from tests.evaluation.fake_evaluators import build_tiny_classifier


@pytest.fixture(scope="module")
def bench(tiny_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A tiny random base with a tiny random classifier and the embedded image-text model."""
    folder = build_tiny_classifier(tmp_path_factory.mktemp("evaluators") / "motion")
    return Bench(
        backbone=load_backbone(str(tiny_bases["v_prediction"]), "cpu"),
        classifier=load_motion_classifier(str(folder)),
        encoder=load_image_text_encoder("puppet"),
        sampling=SamplingConfig(steps=1, guidance=1.0),
        precision="fp32",
        batch_size=2,
    )


def row(
    index: int, asked: str, seen: str, kind: str = "robot", right_kind: bool = True
) -> VideoRow:
    scene = PuppetScene(kind, "red", "at night", asked, seed=index)
    said = kind if right_kind else "bear"
    return VideoRow(
        "x", index, ScenePrompt(scene, "text", index), Seen(seen, said, "red", "at night", 0.5, 0.2)
    )


# --- prompts --------------------------------------------------------------------------------------


def test_prompts_are_balanced_over_motions_and_kinds() -> None:
    prompts = balanced_prompts(150)
    assert {m: sum(p.scene.motion == m for p in prompts) for m in BASE_MOTIONS} == dict.fromkeys(
        BASE_MOTIONS, 10
    )
    kinds = [sum(p.scene.kind == kind for p in prompts) for kind in KINDS]
    assert max(kinds) - min(kinds) <= 1
    # One motion is asked of all kinds, not of one of them.
    assert {p.scene.kind for p in prompts if p.scene.motion == "waving"} == set(KINDS)


def test_prompts_are_unseen_simple_scenes_that_say_what_they_show() -> None:
    for prompt in balanced_prompts(60):
        scene = prompt.scene
        assert split_of(scene.kind, scene.colour, scene.place) == "test"
        assert (scene.count, scene.speed, scene.also) == (1, "", None)
        for word in (scene.kind, scene.colour, scene.place, scene.motion):
            assert word in prompt.text


def test_more_prompts_begin_with_the_same() -> None:
    assert balanced_prompts(60)[:45] == balanced_prompts(45)
    assert len({p.seed for p in balanced_prompts(60)}) == 60


def test_a_learned_motion_is_asked_by_its_token() -> None:
    prompts = balanced_prompts(8, ["dabbing"], kinds=("bear", "crab"), doing="doing the pll")
    assert all("doing the pll" in p.text and "dabbing" not in p.text for p in prompts)
    assert {p.scene.kind for p in prompts} == {"bear", "crab"}


def test_no_prompts_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        balanced_prompts(0)


# --- tables ---------------------------------------------------------------------------------------


def test_tables_are_what_one_counts_by_hand() -> None:
    made = [
        row(0, "waving", "waving"),
        row(1, "waving", "bowing", right_kind=False),
        row(2, "waving", "bowing"),
        row(3, "bowing", "bowing"),
    ]
    named = [row(0, "dabbing", "waving"), row(1, "gliding", "gliding")]
    scores = summarize(made, made[:2], named, {"base": "0"})
    assert scores.generated["motion"] == Share(2, 4)
    assert scores.generated["kind"] == Share(3, 4)
    assert scores.generated["colour"] == scores.generated["place"] == Share(4, 4)
    assert scores.ceiling["motion"] == Share(1, 2)
    assert scores.motions == {"bowing": Share(1, 1), "waving": Share(1, 3)}
    assert scores.named_in_all == Share(1, 2)
    assert scores.confusions == (Confusion("waving", "bowing", 2),)
    assert scores.appearance == pytest.approx(0.2)
    assert json.loads(json.dumps(scores.to_dict()))["motions"]["waving"]["of"] == 3


def test_the_floor_holds_every_video_against_another_prompt() -> None:
    rows = [row(i, motion, motion) for i, motion in enumerate(BASE_MOTIONS)]
    other = shuffled(rows)
    assert all(a.prompt != b.prompt and a.seen == b.seen for a, b in zip(rows, other, strict=True))
    assert {r.prompt.seed for r in other} == {r.prompt.seed for r in rows}
    assert shuffled(rows) == other
    assert summarize(rows, [], [], {}).floor["motion"] == Share(0, len(rows))
    assert shuffled(rows[:1]) == []


# --- a run ----------------------------------------------------------------------------------------


def test_the_same_seeds_give_the_same_rows_whatever_the_batch(bench: Bench, tmp_path: Path) -> None:
    prompts, named = balanced_prompts(3), held_out_in_words(1)[:1]
    told: list[tuple[str, int, int]] = []
    first = score_base(
        bench,
        prompts,
        named_prompts=named,
        rows_file=tmp_path / "a.jsonl",
        on_progress=lambda *each: told.append(each),
    )
    other = replace(bench, batch_size=3)
    second = score_base(other, prompts, named_prompts=named, rows_file=tmp_path / "b.jsonl")
    assert (first.generated, first.ceiling) == (second.generated, second.ceiling)
    assert first.appearance == pytest.approx(second.appearance, abs=1e-5)
    assert set(first.named) <= set(HELD_OUT_MOTIONS) and first.ceiling["motion"].of == 3
    assert told[:2] == [("generated videos", 2, 3), ("generated videos", 3, 3)]
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1 + 3 + 3 + 1


def test_a_killed_run_goes_on_and_measures_nothing_twice(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, path = balanced_prompts(4), tmp_path / "rows.jsonl"
    whole = score_base(bench, prompts, ceiling=False)

    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_base(bench, prompts, ceiling=False, rows_file=path, on_progress=stop)
    assert len(path.read_text().splitlines()) == 3
    asked: list[int] = []
    predict = UNet3DBackbone.predict

    def counting(self: UNet3DBackbone, *arguments: torch.Tensor) -> torch.Tensor:
        asked.append(len(arguments[0]))
        return predict(self, *arguments)

    monkeypatch.setattr(UNet3DBackbone, "predict", counting)
    assert score_base(bench, prompts, ceiling=False, rows_file=path) == whole
    assert sum(asked) == 2  # the other two videos, one step each, no guidance


def test_rows_of_other_settings_are_refused(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    score_base(bench, balanced_prompts(1), ceiling=False, rows_file=path)
    other = replace(bench, sampling=SamplingConfig(steps=2, guidance=1.0))
    with pytest.raises(RunFolderError, match="sampling"):
        score_base(other, balanced_prompts(1), ceiling=False, rows_file=path)


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n", '{"measured_with": {}}\n{"a": 1}\n'])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(RunFolderError, match="does not hold rows"):
        RowFile(path, {})


def test_a_motion_that_the_classifier_does_not_know_is_refused(
    bench: Bench, tmp_path: Path
) -> None:
    folder = build_tiny_classifier(tmp_path / "other", labels=("juggling", "sleeping"))
    stranger = replace(bench, classifier=load_motion_classifier(str(folder)))
    with pytest.raises(ValueError, match="does not know"):
        score_base(stranger, balanced_prompts(1), ceiling=False)
