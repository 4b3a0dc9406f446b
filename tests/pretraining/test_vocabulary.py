"""The words of the world and their ids."""

from __future__ import annotations

import random

import pytest
from transformers import CLIPTokenizer

from motion_ray.backbones.embedded import END, START
from motion_ray.data.puppets.captions import RARE_WORDS, caption
from motion_ray.data.puppets.motions import HELD_OUT_MOTIONS
from motion_ray.data.puppets.world import pretraining_scene
from motion_ray.pretraining.vocabulary import (
    attributes,
    build_tokenizer,
    caption_words,
    option_table,
    strange_words,
    token_ids,
    word_ids,
)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return build_tokenizer(24)


def pieces(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_every_word_is_one_token_and_no_two_share_it(tokenizer: CLIPTokenizer) -> None:
    words = list(dict.fromkeys([*caption_words(), *strange_words()]))
    found = [pieces(tokenizer, word) for word in words]
    assert all(len(ids) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == len(words)
    assert word_ids(tokenizer, words) == [ids[0] for ids in found]
    assert set(RARE_WORDS) <= set(strange_words())


def test_captions_hold_no_other_words_and_fit(tokenizer: CLIPTokenizer) -> None:
    rng, known = random.Random(0), set(caption_words())
    for _ in range(500):
        text = caption(pretraining_scene(rng), rng)
        assert set(text.split()) <= known
        assert len(tokenizer(text)["input_ids"]) < 24


def test_words_of_held_out_motions_are_known_by_sight_only(tokenizer: CLIPTokenizer) -> None:
    meaning = option_table(tokenizer).any(0)
    for word in ("swiping", "drumming", "dabbing", "windmilling", "gliding"):
        assert word in strange_words()
        assert not meaning[word_ids(tokenizer, [word])[0]]
    assert {w for motion in HELD_OUT_MOTIONS for w in motion.split()} <= {
        *caption_words(),
        *strange_words(),
    }


def test_rare_words_are_told_apart(tokenizer: CLIPTokenizer) -> None:
    meanings = option_table(tokenizer)[:, word_ids(tokenizer, RARE_WORDS)]
    assert len(set(map(tuple, meanings.T.tolist()))) == len(RARE_WORDS)


def test_another_word_is_spelled_and_never_unknown(tokenizer: CLIPTokenizer) -> None:
    for word in ("firefighter", "quizzically", "x9", "jazz", "wolf-man"):
        ids = pieces(tokenizer, word)
        assert len(ids) > 1
        assert not set(ids) & set(tokenizer.convert_tokens_to_ids([START, END]))


def test_each_option_has_its_number(tokenizer: CLIPTokenizer) -> None:
    table = option_table(tokenizer)
    for group, options in enumerate(attributes()):
        for number, forms in enumerate(options, 1):
            assert table[group, word_ids(tokenizer, forms)].tolist() == [number] * len(forms)
        assert int((table[group] > 0).sum()) == len({form for forms in options for form in forms})


def test_building_it_again_gives_the_same_ids(tokenizer: CLIPTokenizer) -> None:
    again = build_tokenizer(24)
    assert again.get_vocab() == tokenizer.get_vocab()
    texts = ["a red robot waving in the forest", "two people doing the pll"]
    assert token_ids(again, texts).tolist() == token_ids(tokenizer, texts).tolist()
    assert token_ids(tokenizer, texts).shape == (2, 24)
