"""The stage that trains the text encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion_ray.backbones.embedded import load_text
from motion_ray.pretraining.parallel import Replicas
from motion_ray.pretraining.text import STAGE, TextTraining, named_so_far
from motion_ray.pretraining.vocabulary import (
    attributes,
    build_tokenizer,
    option_table,
    strange_words,
    token_ids,
    word_ids,
)
from motion_ray.pretraining.workspace import Workspace
from tests.pretraining.conftest import CopyUpTo
from tests.pretraining.stopping import assert_a_killed_run_ends_alike

TEXTS = ["a red robot waving in the forest", "two blue people jumping", "a crab doing something"]


@pytest.fixture
def training(tmp_path: Path) -> TextTraining:
    tokenizer = build_tokenizer(24)
    settings = replace(STAGE.tiny, steps=60, batch=6, lr=5e-3)
    return TextTraining(settings, tokenizer, token_ids(tokenizer, TEXTS), Workspace(tmp_path))


def test_every_position_knows_what_was_said_up_to_it_and_nothing_else() -> None:
    tokenizer = build_tokenizer(24)
    named = named_so_far(token_ids(tokenizer, TEXTS[:1]), option_table(tokenizer))[:, 0]
    groups = [options[0] for options in attributes()]
    kind, colour, place = named[0], named[1], named[2]
    # start a red robot waving in the forest end ...
    assert colour.tolist()[:4] == [0, 0, 1, 1] and set(colour.tolist()[3:]) == {1}
    assert kind.tolist()[:5] == [0, 0, 0, 2, 2] and set(kind.tolist()[4:]) == {2}
    assert place.tolist()[:9] == [0, 0, 0, 0, 0, 0, 0, 2, 2]
    waving = named[groups.index(("waving",))]
    assert waving.tolist()[:6] == [0, 0, 0, 0, 1, 1]
    assert int(named[groups.index(("jumping",))].max()) == 0


def test_every_other_batch_has_strange_words_and_start_and_end_stay(
    training: TextTraining,
) -> None:
    tokenizer = build_tokenizer(24)
    strange = set(word_ids(tokenizer, strange_words()))
    plain = {id_ for row in training.ids.tolist() for id_ in row}
    seen = {step: training._batch(step) for step in range(8)}
    for step, ids in seen.items():
        assert torch.equal(ids, training._batch(step))
        assert torch.equal((ids == 0).sum(1), torch.ones(6, dtype=torch.long))
        if step % 2 == 0:
            assert {i for row in ids.tolist() for i in row} <= plain
    odd = {i for step in (1, 3, 5, 7) for row in seen[step].tolist() for i in row}
    assert odd & strange and odd <= plain | strange


def test_training_reads_more_and_more_of_a_caption(training: TextTraining) -> None:
    losses = [training.step(step) for step in range(60)]
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    assert training.report()["loss"] == pytest.approx(sum(losses) / 60, rel=1e-5)


def test_processes_share_a_batch(training: TextTraining) -> None:
    ids = training._batch(3)
    shares = [Replicas(rank, 2).share(ids) for rank in (0, 1)]
    assert sorted(torch.cat(shares).tolist()) == sorted(ids.tolist())


def test_a_killed_run_ends_with_the_same_bits(finished: Workspace, copy_up_to: CopyUpTo) -> None:
    killed = copy_up_to("text")
    assert_a_killed_run_ends_alike(STAGE, STAGE.tiny, finished, killed, stop_at=3)


def test_the_finished_encoder_is_frozen_and_has_its_tokenizer(finished: Workspace) -> None:
    encoder, tokenizer = load_text(finished.model("text"))
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.training
    states = encoder(token_ids(tokenizer, TEXTS)).last_hidden_state
    assert states.shape == (3, 24, STAGE.tiny.width)
    assert 0 <= finished.record("text").scores["attributes read"] <= 1
